# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What QEMU itself does, where libvirt may have missed it: which images it writes to, and going back to those libvirt knows.

Libvirt that is killed between QEMU's doing and its own noting of it goes on with what it had noted (measured on 9.0 and
11.3: some hundredths of a second for each snapshot). Whatever is built upon that would cost data.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.libvirt_errors import (
    translated,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.image_header import read_image
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.file_identity import known_as
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.open_files import is_for_writing
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.real_paths import real_path
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError

_PID_FILES = ("/run/libvirt/qemu/{}.pid", os.path.expandvars("$XDG_RUNTIME_DIR/libvirt/qemu/run/{}.pid"))
_RUNNING = 1  # VIR_DOMAIN_RUNNING
_PAUSE, _JOB_SECONDS = 0.05, 60.0
ASK_QEMU = (
    "Do not delete any file, and do not stop the VM. Ask its QEMU which files it writes to: virsh qemu-monitor-command {vm} "
    "--hmp 'info block'."
)
_JOB = "limiquantix-kvm-back"
_IMAGE, _FILE = "-format", "-storage"  # how libvirt ends the names of its nodes


def written(vm: str, native: Any) -> set[str] | None:
    """Return what a running VM's QEMU has open for writing, by real paths and as `known_as` has it; None where that cannot
    be known.

    Raises `libvirtError`.
    """
    if native.state()[0] != _RUNNING:
        return None  # one that was restored and has not run yet opens its images later
    pid = qemu_pid(vm)
    with suppress(OSError):
        return None if pid is None else set(_open_for_writing(str(pid)))
    return None


def qemu_pid(vm: str) -> int | None:
    """Return the process of a running VM; None where that cannot be known."""
    for pattern in _PID_FILES:
        with suppress(OSError, ValueError), open(pattern.format(vm), encoding="utf-8") as file:
            return int(file.read())
    return None


def _open_for_writing(pid: str) -> Iterator[str]:
    for descriptor in os.listdir(f"/proc/{pid}/fd"):
        with suppress(OSError):  # closed meanwhile
            link = f"/proc/{pid}/fd/{descriptor}"
            file = os.readlink(link)
            if file.startswith("/") and is_for_writing(pid, descriptor):  # most are sockets, events and pipes
                yield from {real_path(file), known_as(link)}


def is_on(native: Any, file: str) -> bool:
    """Whether a disk of a running VM is on an image by QEMU's own word. Raises `libvirtError`."""
    return bool(_in_use(native).intersection(_nodes(native, {file})))


def leave_overlays(vm: str, native: Any, overlays: set[str]) -> None:
    """Take a VM off overlays that libvirt does not know of, and close them: their data goes down to where libvirt
    believes the VM to be, which then is true. Raises ``verification_failed``, or as `translated` does.
    """
    with translated(vm, "asking QEMU what it has open"):
        for overlay in sorted(overlays):
            for node in _in_use(native).intersection(_nodes(native, {overlay})):
                _commit_back(vm, native, node, str(read_image(overlay, "qcow2").backing_file))
        _dismiss_creations(native)
        for node in _nodes(native, overlays):
            # One that QEMU cannot close yet does no harm: nothing is written there any more.
            with suppress(KvmError):
                _ask(native, "blockdev-del", **{"node-name": node})


def _in_use(native: Any) -> set[str]:
    """Return the nodes that disks are on."""
    return {one["inserted"]["node-name"] for one in _ask(native, "query-block") if one.get("inserted")}


def _nodes(native: Any, images: set[str]) -> list[str]:
    """Return the nodes that QEMU has for images: the images' own and, behind these, those of the files that they hold.

    The image's own file may be told as a piece of JSON; libvirt names the two alike (libvirt-7-format, libvirt-7-storage).
    A raw image may have the latter only (11.3).
    """
    known = {node["node-name"]: node.get("file", "") for node in _ask(native, "query-named-block-nodes", flat=True)}
    files = [name for name, file in known.items() if real_path(file) in images and name.endswith(_FILE)]
    own = [name[: -len(_FILE)] + _IMAGE for name in files]
    return [name for name in own if name in known] + files


def _dismiss_creations(native: Any) -> None:
    """Let QEMU forget the jobs that made overlays: they hold them until somebody has asked how they ended."""
    end = time.monotonic() + _JOB_SECONDS
    while jobs := [job for job in _ask(native, "query-jobs") if job["type"] == "create"]:
        for job in jobs:
            if job["status"] == "concluded":
                _ask(native, "job-dismiss", id=job["id"])
        if time.monotonic() > end:
            return  # what is still being made is refused to be closed, and told so
        time.sleep(_PAUSE)


def _commit_back(vm: str, native: Any, node: str, base: str) -> None:
    """Commit an overlay into the one image under it: without a base named, QEMU would go down to the lowest of all."""
    base_node = next(iter(_nodes(native, {real_path(base)})), None)
    if base_node is None:
        raise _stays(vm)
    _ask(native, "block-commit", **{"job-id": _JOB, "device": node, "base-node": base_node})
    end, completing = time.monotonic() + _JOB_SECONDS, False
    while jobs := [job for job in _ask(native, "query-block-jobs") if job["device"] == _JOB]:
        if jobs[0]["ready"] and not completing:
            _ask(native, "block-job-complete", device=_JOB)
            completing = True
        if time.monotonic() > end:
            raise _stays(vm)
        time.sleep(_PAUSE)
    if not is_on(native, real_path(base)):
        raise _stays(vm)


def _stays(vm: str) -> KvmError:
    return KvmError(
        "verification_failed",
        f"{vm} writes to an overlay that libvirt does not know, because libvirt was killed at that "
        "moment, and the VM does not leave that overlay.",
        ASK_QEMU.format(vm=vm),
    )


def _ask(native: Any, command: str, **arguments: Any) -> Any:
    import libvirt_qemu  # of the same package as libvirt's own bindings; needed in this emergency only

    said = libvirt_qemu.qemuMonitorCommand(native, json.dumps({"execute": command, "arguments": arguments}), 0)
    answer = json.loads(said)
    if "error" in answer:
        raise KvmError(
            "verification_failed",
            f"The QEMU of {native.name()} refused {command}: {answer['error'].get('desc')}.",
            f"{ASK_QEMU.format(vm=native.name())} Save the guest's data from inside it before you stop it.",
        )
    return answer["return"]
