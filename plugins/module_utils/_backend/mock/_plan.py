# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Deciding a snapshot's disks and files in the mock, with the libvirt backend's own rules for what is covered."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from typing import Any

from ansible_collections.limiquantix.kvm.plugins.module_utils._backend.mock._domain import domain_element
from ansible_collections.limiquantix.kvm.plugins.module_utils._backend.mock._storage import Files, chain_files
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

_MOST_LAYERS = 200


def plan_snapshot(
    vm: VirtualMachine, native: Mapping[str, Any], files: Files, request: SnapshotRequest
) -> SnapshotPlan:
    """Return the plan. Raises as `Hypervisor.plan` says."""
    _refuse_block_job(vm, native)
    check_domain(vm)
    covered, left_out = cover(vm.name, domain_element(native), request.disks)
    for disk in covered:
        _check_chain(vm.name, disk, files)
    directories = [(disk, overlay_directory(vm.name, disk, str(disk.source), request.overlay_dir)) for disk in covered]
    return files_plan(vm, request, directories, left_out, partial(_unused, files))


def _refuse_block_job(vm: VirtualMachine, native: Mapping[str, Any]) -> None:
    busy = [disk["target"] for disk in native["disks"] if disk.get("block_job") and vm.active]
    if busy:
        raise KvmError(
            "block_job_active",
            f"A block job (merge, copy or backup) runs on disk {busy[0]} of {vm.name}.",
            f"Nothing was changed. Wait for it: virsh blockjob {vm.name} {busy[0]}.",
            disk=busy[0],
        )


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


def _unused(files: Files, directory: str, stem: str, suffix: str) -> str:
    path, number = os.path.join(directory, stem + suffix), 1
    while files.get(path) is not None:
        number += 1
        path = os.path.join(directory, f"{stem}-{number}{suffix}")
    return path
