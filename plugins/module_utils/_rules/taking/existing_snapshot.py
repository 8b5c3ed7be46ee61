# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a snapshot of the name that a task asks for already is what it asks for."""

from __future__ import annotations

from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.request import SnapshotRequest
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import Snapshot
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import VirtualMachine

# Libvirt's states of a snapshot of a VM that had no process, and so no memory that could have been saved.
_STATES_WITHOUT_MEMORY_TO_SAVE = ("shutoff", "crashed")


def existing_snapshot(vm: VirtualMachine, request: SnapshotRequest) -> Snapshot | None:
    """Return the snapshot that already is what is asked for; raise ``snapshot_mismatch`` for another of that name."""
    snapshot = vm.find(request.name)
    if snapshot is None:
        return None
    difference = _memory_difference(vm, snapshot, request) or _disk_difference(snapshot, request)
    if difference:
        raise KvmError(
            "snapshot_mismatch",
            f"{vm.name} already has a snapshot {request.name!r}, but {difference}.",
            "Nothing was changed. Choose another name, or ask for what is there.",
            existing=snapshot.to_result(),
        )
    return snapshot


def _memory_difference(vm: VirtualMachine, snapshot: Snapshot, request: SnapshotRequest) -> str:
    if "include_memory" in snapshot.untold:
        return ""
    if snapshot.include_memory and request.disk_only:
        return "it holds the memory too, and a disk-only one was asked for"
    if snapshot.include_memory or request.disk_only:
        return ""
    if snapshot.state in _STATES_WITHOUT_MEMORY_TO_SAVE:
        return ""
    if request.on_memory_blocked == "disk_only" and vm.memory_blockers:
        return ""
    return "it holds no memory, and one with memory was asked for"


def _disk_difference(snapshot: Snapshot, request: SnapshotRequest) -> str:
    covered = {disk.target for disk in snapshot.disks}
    if request.disks is None or covered == set(request.disks):
        return ""
    return f"it covers {', '.join(sorted(covered)) or 'no disk'}, and {', '.join(request.disks)} was asked for"
