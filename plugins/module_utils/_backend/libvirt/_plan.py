# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Deciding a snapshot's disks and files, and refusing what must not begin, without touching the VM."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from functools import partial
from typing import Any

from ansible_collections.limiquantix.kvm.plugins.module_utils._backend.libvirt._images import Image, read_chain
from ansible_collections.limiquantix.kvm.plugins.module_utils._domain._coverage import cover
from ansible_collections.limiquantix.kvm.plugins.module_utils._domain._plan import (
    check_domain,
    files_plan,
    overlay_directory,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._domain._xml import Disk
from ansible_collections.limiquantix.kvm.plugins.module_utils._errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._snapshot import (
    SnapshotPlan,
    SnapshotRequest,
    VirtualMachine,
)

_MOST_LAYERS = 200  # of a chain, in every libvirt
# Libvirt 10.8 to 11.10 cannot parse the chain of a VM with more layers at its start (json-c's depth of 32); fixed 12.0.
_SHALLOW_LIBVIRT, _SHALLOW_LAYERS = (10_008_000, 12_000_000), 25


def plan_snapshot(
    vm: VirtualMachine, domain: Any, request: SnapshotRequest, libvirt_version: int, leftovers: Collection[str]
) -> SnapshotPlan:
    """Return the plan; ``leftovers`` of a killed run will be gone before it begins. Raises as `Hypervisor.plan` says."""
    check_domain(vm)
    covered, left_out = cover(vm.name, domain, request.disks)
    for disk in covered:
        _check_chain(vm.name, disk, libvirt_version)
    directories = [
        (disk, overlay_directory(vm.name, disk, os.path.realpath(str(disk.source)), request.overlay_dir))
        for disk in covered
    ]
    return files_plan(vm, request, directories, left_out, partial(_unused, leftovers))


def _check_chain(vm: str, disk: Disk, libvirt_version: int) -> None:
    """Compare what libvirt says of a disk's chain with what the files say; build upon no difference."""
    try:
        images = read_chain(str(disk.source), disk.format)
    except (OSError, ValueError) as error:
        raise _mismatch(vm, disk, f"its backing chain cannot be read: {error}") from error
    _check_formats(vm, disk, images)
    under = tuple(image.file for image in images[1:])
    if disk.backing is not None and not _same_files(disk.backing, under):
        raise _mismatch(vm, disk, f"libvirt says it is backed by {list(disk.backing)}, the files say {list(under)}")
    shallow = _SHALLOW_LIBVIRT[0] <= libvirt_version < _SHALLOW_LIBVIRT[1]
    limit = _SHALLOW_LAYERS if shallow else _MOST_LAYERS
    if len(images) >= limit:
        raise KvmError(
            "chain_too_deep",
            f"Disk {disk.target} of {vm} has {len(images)} layers; with one more this host's libvirt could not start it.",
            "Nothing was changed. Remove snapshots first.",
            layers=len(images),
        )


def _check_formats(vm: str, disk: Disk, images: Sequence[Image]) -> None:
    for image in images:
        if image.backing_file is not None and not image.backing_format:
            raise _mismatch(
                vm, disk, f"{image.file} does not name the format of its backing file, and guessing is unsafe"
            )


def _same_files(one: Sequence[str], other: Sequence[str]) -> bool:
    return [os.path.realpath(file) for file in one] == [os.path.realpath(file) for file in other]


def _mismatch(vm: str, disk: Disk, difference: str) -> KvmError:
    return KvmError(
        "chain_mismatch",
        f"Disk {disk.target} of {vm} is not as it should be: {difference}.",
        "Nothing was changed. Look at the files with qemu-img info -U --backing-chain, and at vm_snapshot_info.",
        disk=disk.target,
    )


def _unused(leftovers: Collection[str], directory: str, stem: str, suffix: str) -> str:
    """Return a path that nothing has yet: a file of that name may be another snapshot's state."""
    path, number = os.path.join(directory, stem + suffix), 1
    while os.path.lexists(path) and path not in leftovers:
        number += 1
        path = os.path.join(directory, f"{stem}-{number}{suffix}")
    return path
