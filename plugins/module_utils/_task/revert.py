# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""State ``reverted``: the VM goes back to a snapshot; what was written since goes, or is kept in a snapshot of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Optional, Union

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.contract import Hypervisor
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.image_changes import CHANGED, UNPROVEN
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.refusals import snapshot_changed
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.snapshot_names import check_snapshot_name
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.snapshot_tree import with_current, with_taken
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.action import Action, Nothing
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.files_removed import in_order, otherwise
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.free_space import without_room
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.outcome import VmOutcome
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.take import plan_take
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.deadline import Deadline
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.plan import RevertPlan, SnapshotPlan
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.request import RevertRequest, SnapshotRequest
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import Snapshot
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import Operation, VirtualMachine


@dataclass(frozen=True)
class Revert:
    """A revert and, where the present is to be kept, the snapshot that is taken of it first."""

    plan: RevertPlan
    keep: Optional[SnapshotPlan]

    @property
    def vm(self) -> VirtualMachine:
        return self.plan.vm


class Reverted(Action[Snapshot, Revert]):
    """Bring VMs back to the snapshot. Raises ``bad_name`` for a name no snapshot can have."""

    def __init__(self, request: RevertRequest) -> None:
        check_snapshot_name(request.name)
        self._request = request

    def decide(self, vm: VirtualMachine) -> Snapshot:
        return _existing(vm, self._request.name)

    def plans_ahead(self, vm: VirtualMachine, wish: Snapshot) -> bool:
        return wish.current and not vm.active  # nothing may have been written since

    def plan(self, hypervisor: Hypervisor, vm: VirtualMachine, wish: Snapshot) -> Union[Revert, Nothing]:
        snapshot, plan = wish, self._plan(hypervisor, vm, wish, self._request.keep_current)
        if not plan.needed:
            return Nothing(vm, f"nothing was written since snapshot {snapshot.name!r}", snapshot, plan.notes)
        return Revert(plan, self._plan_keeping(hypervisor, vm, snapshot) if self._request.keep_current else None)

    def _plan(
        self, hypervisor: Hypervisor, vm: VirtualMachine, snapshot: Snapshot, kept_now: bool = False
    ) -> RevertPlan:
        """Plan it. Raises ``snapshot_changed`` too."""
        if snapshot.told("past") == CHANGED and not self._request.accept_changed:
            raise snapshot_changed(vm.name, snapshot)
        plan = hypervisor.plan_revert(vm, snapshot, self._request.power, kept_now)
        return replace(plan, notes=(*plan.notes, *_past_notes(snapshot)))

    def is_done_by(self, operation: Operation, vm: VirtualMachine) -> bool:
        wanted = self._request
        same = (operation.kind, operation.snapshot) == ("revert", wanted.name)
        return same and wanted.power in ("restore", vm.power)

    def _plan_keeping(self, hypervisor: Hypervisor, vm: VirtualMachine, snapshot: Snapshot) -> SnapshotPlan:
        request = self._request
        if snapshot.kind == "internal":
            raise _cannot_keep(vm.name, snapshot.name)
        name, number = request.kept_as, 1
        while vm.find(name):
            number += 1
            name = f"{request.kept_as}-{number}"
        check_snapshot_name(name)
        wish = SnapshotRequest(
            name=name,
            description=f"what the VM had before a revert to {request.name}",
            quiesce=request.quiesce,
            quiesce_timeout=request.quiesce_timeout,
        )
        plan = _plan_of_all_that_goes(hypervisor, vm, wish, tuple(disk.target for disk in snapshot.disks))
        refused = without_room(hypervisor, [plan])
        if refused:
            raise refused[vm.id.uuid]
        return plan

    def predict(self, plan: Revert) -> VmOutcome:
        after, notes = plan.plan.vm.snapshots, plan.plan.notes
        if plan.keep:
            after, notes = with_taken(after, plan.keep.snapshot), plan.keep.notes + notes
        return _outcome(
            plan, with_current(after, plan.plan.snapshot.name), "would be reverted", notes, power=plan.plan.power
        )

    def act(self, hypervisor: Hypervisor, plan: Revert, deadline: Deadline) -> VmOutcome:
        notes: tuple[str, ...] = ()
        reverting = plan.plan
        kept: Optional[Snapshot] = None
        if plan.keep:
            taken = hypervisor.take(plan.keep, deadline)
            notes, kept = taken.notes, taken.snapshot or plan.keep.snapshot
            # What is thrown away now is the overlay of the snapshot just taken.
        try:
            if kept:
                vm = hypervisor.inspect(reverting.vm.id)
                reverting = self._plan(hypervisor, vm, _existing(vm, reverting.snapshot.name))
            done = hypervisor.revert(reverting, deadline)
        except KvmError as error:
            if kept:
                error.message += f" Snapshot {kept.name!r}, which was taken first, stays."
            raise
        # What was made for the kept snapshot, and went with the revert, was not there before this task.
        made = {disk.file for disk in kept.disks} if kept else set()
        removed = in_order(reverting.dropped, [one for one in done.files_removed if one not in made])
        notes += (*done.notes, *otherwise([one for one in reverting.dropped if one not in made], removed))
        now = hypervisor.inspect(reverting.vm.id)
        # Siblings of one second are drawn as they were foretold.
        order = [one.name for one in self.predict(plan).after]
        after = sorted(now.snapshots, key=lambda one: order.index(one.name) if one.name in order else len(order))
        power = reverting.power or now.power
        # What is known of a snapshot right after it was taken is not always told later.
        after = [kept if kept and one.untold and one.name == kept.name else one for one in after]
        found = now.find(reverting.snapshot.name)
        reverted = _outcome(plan, tuple(after), "reverted", notes, power=power, snapshot=found)
        return replace(reverted, files_removed=removed)


def _cannot_keep(vm: str, snapshot: str) -> KvmError:
    inside = f"snapshot {snapshot!r} is inside its image, and keep_current would put an overlay on that"
    message = f"What {vm} has now cannot be kept: {inside}."
    remedy = (
        "Nothing was changed. Revert without keep_current, after virsh snapshot-create-as has kept what there is now."
    )
    return KvmError("mixed_chain", message, remedy)


def _past_notes(snapshot: Snapshot) -> tuple[str, ...]:
    reasons = "; ".join(snapshot.past_reasons)
    if snapshot.told("past") == CHANGED:
        return (f"the snapshot is not as it was taken, and accept_changed allows that: {reasons}",)
    if snapshot.told("past") == UNPROVEN:
        return (f"it is not proven that the snapshot is as it was taken: {reasons}",)
    return ()


def _plan_of_all_that_goes(
    hypervisor: Hypervisor, vm: VirtualMachine, wish: SnapshotRequest, going: tuple[str, ...]
) -> SnapshotPlan:
    """Plan a snapshot of all disks or, where that would fail or leave out one that goes back, of these."""
    try:
        plan = plan_take(hypervisor, vm, wish)
    except KvmError as error:
        if error.error_code != "disk_not_covered":
            raise
        return plan_take(hypervisor, vm, replace(wish, disks=going))
    covered = tuple(disk.target for disk in plan.snapshot.disks)
    missing = tuple(target for target in going if target not in covered)
    if not missing or "disks" in plan.snapshot.untold:
        return plan
    return plan_take(hypervisor, vm, replace(wish, disks=(*covered, *missing)))


def _existing(vm: VirtualMachine, name: str) -> Snapshot:
    snapshot = vm.find(name)
    if snapshot is None:
        known = ", ".join(one.name for one in vm.snapshots) or "none"
        raise KvmError(
            "snapshot_not_found",
            f"{vm.name} has no snapshot {name!r}.",
            f"Nothing was changed. Give one of its snapshots: {known}.",
        )
    return snapshot


def _outcome(
    revert: Revert,
    after: tuple[Snapshot, ...],
    word: str,
    notes: tuple[str, ...],
    *,
    power: str,
    snapshot: Optional[Snapshot] = None,
) -> VmOutcome:
    plan, keep = revert.plan, revert.keep
    state = f", {power} now" if power else ""
    kept = f", and what the VM had before is kept as {keep.snapshot.name!r}" if keep else ""
    return VmOutcome(
        vm_id=plan.vm.id,
        before=plan.vm.snapshots,
        after=after,
        snapshot=snapshot or next(one for one in after if one.name == plan.snapshot.name),
        msg=". ".join(
            (
                f"{word} to snapshot {plan.snapshot.name!r}{state}{kept}",
                *notes,
            )
        ),
        notes=notes,
        power=(plan.vm.power, power),
        resized=plan.resized,
        present=(plan.snapshot.name,),
        kept=tuple(one.file for one in plan.kept),
        files_removed=() if keep else plan.dropped,
    )
