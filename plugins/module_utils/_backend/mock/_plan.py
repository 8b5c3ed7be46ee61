# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Deciding a snapshot's disks and files in the mock, with the libvirt backend's own rules for what is covered."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ansible_collections.limiquantix.kvm.plugins.module_utils._backend.mock._domain import domain_element
from ansible_collections.limiquantix.kvm.plugins.module_utils._backend.mock._storage import Files, chain_files
from ansible_collections.limiquantix.kvm.plugins.module_utils._domain._coverage import cover
from ansible_collections.limiquantix.kvm.plugins.module_utils._domain._xml import Disk
from ansible_collections.limiquantix.kvm.plugins.module_utils._errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._names import file_name
from ansible_collections.limiquantix.kvm.plugins.module_utils._snapshot import (
    Need,
    Snapshot,
    SnapshotDisk,
    SnapshotPlan,
    SnapshotRequest,
    VirtualMachine,
)

NEW_OVERLAY = 1 << 20
MEMORY_EXTRA = 64 << 20
_MOST_LAYERS = 200


def plan_snapshot(
    vm: VirtualMachine, native: Mapping[str, Any], files: Files, request: SnapshotRequest
) -> SnapshotPlan:
    """Return the plan. Raises as `Hypervisor.plan` says."""
    _refuse_block_job(vm, native)
    _check_domain(vm)
    covered, left_out = cover(vm.name, domain_element(native), request.disks)
    for disk in covered:
        _check_chain(vm.name, disk, files)
    directories = [_overlay_directory(vm.name, disk, request.overlay_dir) for disk in covered]
    overlays = tuple(
        SnapshotDisk(
            disk.target,
            _unused(files, directory, file_name(vm.name, disk.target, request.name), ".qcow2"),
            "qcow2",
            None,
        )
        for disk, directory in zip(covered, directories)
    )
    needs = [Need(directory, NEW_OVERLAY) for directory in directories]
    memory_file = None
    if request.include_memory:
        memory_file = _unused(files, directories[0], file_name(vm.name, request.name), ".memory")
        needs.append(Need(directories[0], vm.memory_bytes + MEMORY_EXTRA))
    snapshot = Snapshot(
        name=request.name,
        description=request.description,
        parent=native["current"],
        current=True,
        state=vm.state if request.include_memory or not vm.active else "disk-snapshot",
        include_memory=request.include_memory,
        disks=overlays,
        left_out=left_out,
        memory_file=memory_file,
    )
    firmware = tuple(f"{part.target}: {part.reason}" for part in left_out if part.target in ("nvram", "tpm"))
    return SnapshotPlan(vm=vm, request=request, snapshot=snapshot, needs=tuple(needs), notes=firmware)


def _refuse_block_job(vm: VirtualMachine, native: Mapping[str, Any]) -> None:
    busy = [disk["target"] for disk in native["disks"] if disk.get("block_job") and vm.active]
    if busy:
        raise KvmError(
            "block_job_active",
            f"A block job (merge, copy or backup) runs on disk {busy[0]} of {vm.name}.",
            f"Nothing was changed. Wait for it: virsh blockjob {vm.name} {busy[0]}.",
            disk=busy[0],
        )


def _check_domain(vm: VirtualMachine) -> None:
    if not vm.persistent:
        raise KvmError(
            "transient_domain",
            f"{vm.name} is a transient domain: its snapshots would vanish with it, and their overlays stay behind.",
            "Nothing was changed. Make it persistent first.",
        )
    if vm.state == "pmsuspended":
        raise KvmError("bad_state", f"{vm.name} is {vm.state} and cannot be snapshotted.", "Nothing was changed.")


def _check_chain(vm: str, disk: Disk, files: Files) -> None:
    try:
        chain = chain_files(files, str(disk.source))
    except ValueError as error:
        raise KvmError(
            "chain_mismatch",
            f"Disk {disk.target} of {vm} is not as it should be: its backing chain cannot be read: {error}.",
            "Nothing was changed. Look at vm_snapshot_info.",
            disk=disk.target,
        ) from error
    if len(chain) >= _MOST_LAYERS:
        raise KvmError(
            "chain_too_deep",
            f"Disk {disk.target} of {vm} has {len(chain)} layers; with one more a libvirt could not start it.",
            "Nothing was changed. Remove snapshots first.",
            layers=len(chain),
        )


def _overlay_directory(vm: str, disk: Disk, overlay_dir: str | None) -> str:
    if overlay_dir is not None:
        return overlay_dir
    if disk.type == "block":
        raise KvmError(
            "overlay_dir_unusable",
            f"Disk {disk.target} of {vm} is the block device {disk.source}, beside which no overlay can lie.",
            "Nothing was changed. Name a directory with overlay_dir.",
        )
    return os.path.dirname(str(disk.source))


def _unused(files: Files, directory: str, stem: str, suffix: str) -> str:
    path, number = os.path.join(directory, stem + suffix), 1
    while files.get(path) is not None:
        number += 1
        path = os.path.join(directory, f"{stem}-{number}{suffix}")
    return path
