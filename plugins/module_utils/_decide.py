# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a task's wish comes to for one VM: with memory or without, frozen or not, already there or not."""

from __future__ import annotations

from dataclasses import replace

from ansible_collections.limiquantix.kvm.plugins.module_utils._errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._snapshot import (
    Snapshot,
    SnapshotRequest,
    VirtualMachine,
)

# What libvirt says, with an error code that says less, where a VM's memory cannot be saved.
MEMORY_HINTS = ("cannot migrate domain", "invtsc", "migration is")
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
            "Nothing was touched; choose another name, or ask for what is there.",
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


def resolve_memory(vm: VirtualMachine, request: SnapshotRequest) -> tuple[SnapshotRequest, tuple[str, ...]]:
    """Return the request as this VM can have it, with notes on what differs; raise ``memory_blocked``."""
    if request.disk_only:
        return request, ()
    if not vm.active:
        return replace(request, include_memory=False), (f"{vm.name} is {vm.state} and has no memory to save",)
    if not vm.memory_blockers:
        return request, ()
    if request.on_memory_blocked == "disk_only":
        return replace(request, include_memory=False), ("memory left out: " + "; ".join(vm.memory_blockers),)
    raise memory_blocked(vm.name, vm.memory_blockers)


def memory_blocked(name: str, blockers: tuple[str, ...], afterwards: str = "The VM was not touched.") -> KvmError:
    """Return the error that names every blocker and the ways out."""
    ways = ["take it disk-only (include_memory: false, or on_memory_blocked: disk_only)"]
    if any("invtsc" in blocker for blocker in blockers):
        ways.append(
            "give the VM a TSC frequency (<clock><timer name='tsc' frequency='HZ'/></clock>, then power it off and on)"
        )
        ways.append("or disable its invtsc feature")
    return KvmError(
        "memory_blocked",
        f"The memory of {name} cannot be saved: {'; '.join(blockers)}.",
        f"{afterwards} Ways out: {'; '.join(ways)}.",
        blockers=list(blockers),
    )


def memory_timeout(name: str, seconds: float) -> KvmError:
    """Return the error of memory that was not saved in time."""
    return KvmError(
        "timeout",
        f"The memory of {name} was not saved within {seconds:g} seconds; saving it was aborted.",
        "The VM goes on as before and no snapshot was taken. Give a longer timeout, or take it disk-only.",
    )


def decide_freeze(vm: VirtualMachine, request: SnapshotRequest) -> tuple[bool, tuple[str, ...]]:
    """Return whether to freeze the guest's file systems and, where not, why; raise ``agent_unavailable``."""
    if request.quiesce == "never":
        return False, ()
    if not vm.active:
        return False, (f"not quiesced: {vm.name} is {vm.state}, there is nothing to freeze",)
    if request.include_memory:
        return False, ("not quiesced: the saved memory holds what the guest had not yet written",)
    reason = ""
    if vm.state != "running":
        reason = f"the guest is {vm.state} and cannot answer"
    elif "guest_agent" in vm.untold:
        reason = "whether a guest agent answers is not told"
    elif not vm.guest_agent:
        reason = "no guest agent answers"
    if not reason:
        return True, ()
    if request.quiesce == "required":
        raise KvmError(
            "agent_unavailable",
            f"{vm.name} cannot be quiesced: {reason}.",
            "Nothing was changed. Start qemu-guest-agent in the guest (and give the VM its channel), "
            "or use quiesce: auto for a crash-consistent snapshot.",
        )
    return False, (f"not quiesced: {reason}, so the snapshot is crash-consistent",)
