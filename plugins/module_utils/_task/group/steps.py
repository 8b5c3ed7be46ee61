# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of a group's snapshot on one host: plan, take at the appointed moment, confirm, undo. A playbook decides which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Optional, Union

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.contract import Hypervisor
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.meeting import (
    Meeting,
    boot_id,
    boot_time,
    check_boot,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.group import (
    CONFIRM_WITHIN,
    GROUP,
    UNDO_AFTER,
    confirmed,
    group_labels,
    is_pending,
    seconds_since_end,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.action import Action, Nothing
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.outcome import VmOutcome, Wording
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.remove import Absent
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.run import Limits
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.take import (
    Annotation,
    Present,
    annotation_outcome,
    taken,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.appointment import Appointment
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.deadline import Deadline
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.plan import SnapshotPlan
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.request import SnapshotRequest
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import Snapshot
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import VirtualMachine


@dataclass(frozen=True)
class Step:
    """What a task does to each VM, and how it is told of. ``meeting`` is of the members of a group that is taken."""

    action: Action[Any, Any]
    wording: Wording
    limits: Limits
    only_looks: bool = False
    meeting: Optional[Meeting] = None

    def to_result(self, group: str) -> dict[str, Any]:
        """Return ``group`` of the module's result."""
        stamps = self.meeting.stamps if self.meeting else {}
        members = {uuid: one.to_result() for uuid, one in stamps.items()}
        return {"id": group, "boot_id": boot_id(), "members": members}


class Member(Present):
    """Take the snapshot of each member. Without a ``meeting`` this can only be planned."""

    def __init__(self, request: SnapshotRequest, meeting: Optional[Meeting] = None) -> None:
        super().__init__(request)
        self._name = request.name
        self._meeting = meeting

    def decide(self, vm: VirtualMachine) -> Union[SnapshotRequest, Annotation, Nothing]:
        existing = vm.find(self._name)
        if existing:
            message = f"{vm.name} already has a snapshot {self._name!r}, and all VMs of a group are taken together."
            remedy = "Nothing was changed. Choose another name, or remove that snapshot first."
            raise KvmError("snapshot_mismatch", message, remedy, existing=existing.to_result())
        return super().decide(vm)

    def plan(
        self, hypervisor: Hypervisor, vm: VirtualMachine, wish: Union[SnapshotRequest, Annotation]
    ) -> Union[SnapshotPlan, Annotation, Nothing]:
        plan = super().plan(hypervisor, vm, wish)
        if isinstance(plan, Nothing):
            message = f"{vm.name} has no disk that a snapshot can hold."
            raise KvmError("bad_state", message, "Nothing was changed. Leave this VM out of the group.")
        return plan

    def act(self, hypervisor: Hypervisor, plan: Union[SnapshotPlan, Annotation], deadline: Deadline) -> VmOutcome:
        if isinstance(plan, Annotation):
            raise AssertionError("a member that has the snapshot already is refused")
        return taken(hypervisor, plan, lambda: hypervisor.take(plan, deadline, self._meeting))


@dataclass(frozen=True)
class Confirm(Action[Snapshot, Annotation]):
    """Note of each member that its group was cut at one moment; ``late`` where another host has said so before."""

    name: str
    group: str
    late: bool

    def decide(self, vm: VirtualMachine) -> Union[Snapshot, Nothing]:
        found = _of_group(vm, self.name, self.group)
        if found is None:
            message = f"{vm.name} has no snapshot {self.name!r} of the group {self.group}."
            raise KvmError(
                "snapshot_not_found", message, "Somebody removed it: the group cannot be reverted to any more."
            )
        return found if is_pending(found) else Nothing(vm, "its group is confirmed already", found)

    def plan(self, _hypervisor: Hypervisor, vm: VirtualMachine, wish: Snapshot) -> Annotation:
        since = seconds_since_end(wish, boot_id(), boot_time())
        if not self.late and (since is None or since > CONFIRM_WITHIN):
            message = f"The snapshot of {vm.name} in this group was taken too long ago: this run cannot confirm it."
            raise KvmError("group_undecided", message, "Run the playbook again: it looks at all hosts and decides.")
        return Annotation(vm, replace(wish, labels=confirmed(wish.labels)), "group")

    def predict(self, plan: Annotation) -> VmOutcome:
        return annotation_outcome(plan, "would be confirmed")

    def act(self, hypervisor: Hypervisor, plan: Annotation, _deadline: Deadline) -> VmOutcome:
        hypervisor.annotate(plan.vm, plan.snapshot)
        return annotation_outcome(plan, "confirmed")


def group_step(params: Mapping[str, Any], request: SnapshotRequest) -> Step:
    """Return what is asked. Raises ``bad_request``, ``bad_name`` or ``appointment_missed``."""
    asked, name = params["appointment"], request.name
    step, group = asked["step"], asked["group"]
    limits = Limits(params["parallel"], params["timeout"])
    if step == "finish":
        nothing_else = Absent(lambda _vm: (), 0, "nothing else was to be done")  # whoever acts on a VM does this first
        return Step(nothing_else, Wording("interrupted work", "finished or undone"), limits)
    if step == "confirm":
        return Step(Confirm(name, group, asked["late"]), Wording(f"group of snapshot {name!r}", "confirmed"), limits)
    if step == "undo":
        undo = Absent(_undone(name, group, asked["late"]), 0, "nothing of the group is there to be undone")
        return Step(undo, Wording(f"group of snapshot {name!r}", "undone"), limits)
    wording = Wording(f"snapshot {name!r}", "taken", request.disk_only)
    appointment = Appointment(**{key: asked[key] for key in ("boot_id", "begin", "cut", "release", "hard_end")})
    labels = group_labels(request.labels, group, asked["members"], appointment)
    request = replace(request, labels=labels, undoable=True)
    if step == "plan":
        return Step(Member(request), wording, limits, only_looks=True)
    check_boot(appointment)
    together = len(params["vms"])
    meeting = Meeting(appointment, together)
    limits = Limits(together, max(1, int(meeting.seconds_left()) + 1))
    return Step(Member(request, meeting), wording, limits, meeting=meeting)


def _of_group(vm: VirtualMachine, name: str, group: str) -> Optional[Snapshot]:
    found = vm.find(name)
    return found if found and found.labels.get(GROUP) == group else None


def _undone(name: str, group: str, late: bool) -> Any:
    def chosen(vm: VirtualMachine) -> Sequence[Snapshot]:
        found = _of_group(vm, name, group)
        if found is None or not is_pending(found):
            return ()
        since = seconds_since_end(found, boot_id(), boot_time())
        if late and since is not None and since < UNDO_AFTER:
            message = f"The run that took snapshot {name!r} of {vm.name} with its group may still be at work."
            remedy = f"Nothing was changed. Run the playbook again in {UNDO_AFTER - since:.0f} seconds."
            raise KvmError("busy", message, remedy)
        return (found,)

    return chosen
