# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether there is room for merging one image into another, measured where the data goes.

A file grows on the file system that it is on. A qcow2 on a block device grows up to the end of that, and a raw device does not
grow at all: it has to be as large as the disk.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.image_header import Image
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.layer_steps import Merge, Step
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.merge_refusals import no_space_to_merge
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.merged import Merging
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError

_SECONDS = 60
_CLUSTER = 1 << 16  # what a qcow2 mostly allocates at once
_TABLES = 1 << 18  # new tables of a qcow2 that get in the way of the last of its data


def require_room(vm: str, images: Mapping[str, Image], found: Sequence[Step]) -> None:
    """Raise ``no_space`` where one of the merges would run out of it."""
    for step in found:
        if isinstance(step, Merge):
            _require(vm, _as_one(images, step), images[step.base], len(step.through))


def merges(images: Mapping[str, Image], found: Sequence[Step]) -> Iterator[Merging]:
    """Yield what each merge copies and takes at most; what went into an image goes along with it."""
    sizes = {file: image.size for file, image in images.items()}
    for step in found:
        if isinstance(step, Merge):
            of_now = {file: replace(images[file], size=sizes[file]) for file in (*step.gone, step.base)}
            top, base = _as_one(of_now, step), of_now[step.base]
            grows = 0 if base.device else _at_most(top, base)
            sizes[step.base] += grows
            freed = {file: min(sizes[file], images[file].virtual_size) for file in step.gone}
            yield Merging(step.base, min(top.size, top.virtual_size), grows, freed)


def _as_one(images: Mapping[str, Image], step: Merge) -> Image:
    """Return the upper layer, as large as all are that go down along with it."""
    return replace(images[step.top], size=sum(images[file].size for file in step.gone))


def _require(vm: str, top: Image, base: Image, between: int) -> None:
    if base.device and base.format != "qcow2":
        if base.virtual_size < top.virtual_size:
            raise _device_too_small(vm, top, base)
        return
    free = _free_on_device(base) if base.device else _free_beside(os.path.dirname(os.path.realpath(base.file)))
    grows = _at_most(top, base)
    if grows > free:
        grows = min(grows, _exactly(top, base, between))
    if grows > free:
        raise no_space_to_merge(vm, top.file, base.file, free=free, wanted=grows, device=base.device)


def _at_most(top: Image, base: Image) -> int:
    """Return what the base cannot grow by more than, known without looking into either."""
    if base.device:
        return top.size
    return max(0, min(top.size, max(top.virtual_size, base.virtual_size) - base.size))


def _free_beside(directory: str) -> int:
    status = os.statvfs(directory)
    return status.f_bavail * status.f_frsize


def _free_on_device(base: Image) -> int:
    """Return the room between the last cluster in use and the end of the device; 0 where that cannot be told."""
    # The exit code tells of leaks too, which a VM that runs always has.
    said = _asked("check", base, allowed=(0, 2, 3))
    end = said.get("image-end-offset") if isinstance(said, dict) else None
    return max(0, base.size - int(end) - _TABLES) if end else 0


def _exactly(top: Image, base: Image, between: int) -> int:
    """Return what the base has to allocate for what it does not have itself, and the top or a layer ``between`` holds."""
    parts = _asked("map", top)
    if parts is None:
        return _at_most(top, base)
    own, missing, at = list(_allocated(base)), 0, 0
    for start, end in _clusters(parts, between):
        missing += end - start
        while at < len(own) and own[at][1] <= start:
            at += 1
        for first, last in own[at:]:
            if first >= end:
                break
            missing -= min(end, last) - max(start, first)
    return missing


def _allocated(image: Image) -> Iterator[tuple[int, int]]:
    yield from _clusters(_asked("map", image) or ())


def _clusters(parts: Iterable[Mapping[str, Any]], deepest: int = 0) -> Iterator[tuple[int, int]]:
    """Yield from where to where an image, or one under it down to the ``deepest``, has data: whole clusters, without overlap."""
    seen = 0
    for part in parts:
        if part["depth"] <= deepest and part["data"]:
            start, end = int(part["start"]), int(part["start"]) + int(part["length"])
            first, last = max(seen, start // _CLUSTER * _CLUSTER), -(-end // _CLUSTER) * _CLUSTER
            if last > first:
                yield first, last
                seen = last


def _asked(command: str, image: Image, allowed: Sequence[int] = (0,)) -> Any:
    """Return what qemu-img says of an image, also one that is in use; None where it does not."""
    words = ["qemu-img", command, "-U", "--output=json", "-f", image.format, image.file]
    try:
        # There is no AnsibleModule below main(), and so none of its run_command.
        # pylint: disable-next=ansible-bad-function
        done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=_SECONDS)
        return json.loads(done.stdout) if done.returncode in allowed else None
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def _device_too_small(vm: str, top: Image, base: Image) -> KvmError:
    return KvmError(
        "no_space",
        f"Merging {top.file} of {vm} into {base.file} needs {_mib(top.virtual_size)} MiB, because the "
        f"disk was enlarged, and that block device has {_mib(base.virtual_size)} MiB.",
        "Nothing was changed. Enlarge the device first (lvextend), then run the task again.",
        directory=os.path.dirname(base.file),
        free_bytes=base.virtual_size,
        wanted_bytes=top.virtual_size,
        reserve_bytes=0,
    )


def _mib(size: int) -> int:
    return size >> 20
