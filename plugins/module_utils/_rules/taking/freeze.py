# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a freeze means for the snapshot it is for: how long it may take, what its failure forbids, what is told of it."""

from __future__ import annotations

from dataclasses import dataclass

from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.refusals import agent_unavailable
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.deadline import Deadline
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.plan import SnapshotPlan
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.request import SnapshotRequest
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import VirtualMachine


@dataclass
class Freeze:
    """What became of a freeze: ``held`` from the first file system frozen until our thaw, or why not.

    ``still_frozen`` is one whose thaw was not answered.
    """

    held: bool = False
    reason: str = ""
    still_frozen: bool = False


def freeze_seconds(plan: SnapshotPlan, deadline: Deadline) -> int:
    """Return how long the guest may be frozen."""
    return max(1, int(min(plan.request.quiesce_timeout, deadline.remaining())))


def require_frozen(plan: SnapshotPlan, freeze: Freeze) -> None:
    """Raise ``quiesce_failed`` where a freeze is required and has not begun."""
    if plan.freeze and plan.request.quiesce == "required" and not freeze.held:
        remedy = "No snapshot was taken. Look at the guest agent in the guest, or use quiesce: auto."
        raise KvmError("quiesce_failed", f"{plan.vm.name} cannot be quiesced: {freeze.reason}.", remedy)


def notes_on(plan: SnapshotPlan, freeze: Freeze) -> tuple[str, ...]:
    """Return the notes on a snapshot that was taken. Raises ``quiesce_lost``."""
    if not plan.freeze or freeze.held:
        return plan.notes
    if plan.request.quiesce == "required":
        message = f"The snapshot of {plan.vm.name} was taken, but not quiesced: {freeze.reason}."
        remedy = "The snapshot is kept, and is crash-consistent. For a quiesced one, remove it and run the task again."
        raise KvmError("quiesce_lost", message, remedy)
    return (*plan.notes, f"not quiesced: {freeze.reason}; it is crash-consistent")


def thaw_failed(vm: str, remedy: str) -> KvmError:
    """Return the error of a guest that may still be frozen."""
    message = f"The guest agent of {vm} does not answer: the guest's file systems may still be frozen."
    return KvmError("thaw_failed", message, remedy)


def decide_freeze(vm: VirtualMachine, request: SnapshotRequest) -> tuple[bool, tuple[str, ...]]:
    """Return whether to freeze the guest's file systems and, where not, why; raise ``agent_unavailable``."""
    if request.quiesce == "never":
        return False, ()
    if not vm.active:
        return False, (f"not quiesced: {vm.name} is {vm.power}, and there is nothing to freeze",)
    if request.include_memory:
        return False, ("not quiesced: the saved memory holds what the guest had not yet written",)
    reason = ""
    if vm.power != "running":
        reason = f"the guest is {vm.power} and cannot answer"
    elif "guest_agent" in vm.untold:
        reason = "qx-node does not tell whether a guest agent answers"
    elif not vm.guest_agent:
        reason = "no guest agent answers"
    if not reason:
        return True, ()
    if request.quiesce == "required":
        raise agent_unavailable(vm.name, reason)
    return False, (f"not quiesced: {reason}, so the snapshot is crash-consistent",)
