# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""State ``absent``: snapshots are removed, leaf first; the VM's present and every other snapshot stay as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Callable, Optional, Union

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.contract import Hypervisor
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.keeping.labels import carries
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.refusals import removed_meanwhile
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.snapshot_tree import subtree, without
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.action import Action, Nothing
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.files_removed import in_order, otherwise
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.outcome import VmOutcome
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.deadline import Deadline
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.merge import MergeGoesOnError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.plan import RemovalPlan
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import Snapshot
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import VirtualMachine

Chosen = Callable[[VirtualMachine], Sequence[Snapshot]]


@dataclass(frozen=True)
class Absent(Action[Sequence[Snapshot], RemovalPlan]):
    """Remove what ``chosen`` says of each VM, which is asked for leaf first.

    ``bandwidth`` is in MiB/s, 0 for no limit; ``none`` is what to tell of a VM of which nothing is chosen.
    """

    chosen: Chosen
    bandwidth: int = 0
    none: str = "it has no snapshots"

    def decide(self, vm: VirtualMachine) -> Union[Sequence[Snapshot], Nothing]:
        return self.chosen(vm) or Nothing(vm, self.none)

    def plan(self, hypervisor: Hypervisor, vm: VirtualMachine, wish: Sequence[Snapshot]) -> RemovalPlan:
        return hypervisor.plan_remove(vm, wish)

    def may_go_on(self) -> bool:
        return True

    def predict(self, plan: RemovalPlan) -> VmOutcome:
        return _outcome(plan, _left(plan), "would be removed", plan.notes)

    def act(self, hypervisor: Hypervisor, plan: RemovalPlan, deadline: Deadline) -> VmOutcome:
        notes: list[str] = []
        files: list[str] = []
        alone = len(plan.removals) == 1
        vm = plan.vm if alone else hypervisor.inspect(plan.vm.id)
        planned: list[str] = []
        for number, removal in enumerate(plan.removals):
            try:
                # The one before has changed the chains.
                one = plan if alone else hypervisor.plan_remove(vm, [_same(vm, snapshot) for snapshot in removal])
                done = hypervisor.remove(one, self.bandwidth, deadline)
                vm = done.vm or hypervisor.inspect(plan.vm.id)
            except KvmError as error:
                error.changed = error.changed or number > 0
                return _stopped(hypervisor, plan, files, error)
            notes += done.notes
            planned += one.dropped
            files += done.files_removed
        notes += otherwise(planned, files)
        removed = _outcome(plan, vm.snapshots, "removed", tuple(dict.fromkeys(notes)))
        return replace(removed, files_removed=in_order(plan.dropped, files))


def named(name: str, children: bool, labels: Optional[Mapping[str, str]] = None) -> Chosen:
    """Choose the snapshot of that name, with all that are based on it where ``children`` says so.

    Where ``labels`` are given, only those of them that carry all of these.
    """

    def chosen(vm: VirtualMachine) -> Sequence[Snapshot]:
        snapshot = vm.find(name)
        if snapshot is None:
            return ()
        meant = subtree(vm.snapshots, name) if children else (snapshot,)
        return _unprotected(vm, [one for one in meant if carries(one, labels)])

    return chosen


def carrying(labels: Mapping[str, str]) -> Chosen:
    """Choose all snapshots of a VM that carry the ``labels``."""
    return lambda vm: _unprotected(vm, [one for one in reversed(vm.snapshots) if carries(one, labels)])


def every(vm: VirtualMachine) -> Sequence[Snapshot]:
    """Choose all snapshots of a VM."""
    return _unprotected(vm, tuple(reversed(vm.snapshots)))


def _unprotected(vm: VirtualMachine, snapshots: Sequence[Snapshot]) -> Sequence[Snapshot]:
    protected = [one.name for one in snapshots if one.protected]
    if protected:
        # Without it the task asks for a disk-only snapshot of that name, which is refused.
        memory = " and include_memory: true" if any(one.include_memory for one in snapshots if one.protected) else ""
        raise KvmError(
            "snapshot_protected",
            f"{vm.name}: {', '.join(map(repr, protected))} {'is' if len(protected) == 1 else 'are'} protected.",
            f"Nothing was removed. Take the protection off first: state: present with protected: false{memory}.",
            snapshots=protected,
        )
    return snapshots


def _same(vm: VirtualMachine, snapshot: Snapshot) -> Snapshot:
    found = vm.find(snapshot.name)
    if found is None or found.created_at != snapshot.created_at:
        raise removed_meanwhile(vm.name, snapshot.name)
    return found


def _stopped(hypervisor: Hypervisor, plan: RemovalPlan, files: Sequence[str], error: KvmError) -> VmOutcome:
    """Tell what went before the error and what stays, or raise the error where that cannot be told."""
    error.files_removed = (*files, *error.files_removed)
    try:
        now = hypervisor.inspect(plan.vm.id)
    except KvmError:
        raise error from None
    # Its name goes when its state begins to be written to; it is removed when its layers are merged.
    half = now.operation.snapshots if now.operation and now.operation.kind == "remove" else ()
    removed = tuple(one.name for one in plan.snapshots if now.find(one.name) is None and one.name not in half)
    kept = tuple(one.name for one in plan.snapshots if now.find(one.name))
    told = f" Removed before that: {', '.join(removed)}. Still there: {', '.join(kept) or 'none'}." if removed else ""
    return VmOutcome(
        vm_id=plan.vm.id,
        before=plan.vm.snapshots,
        after=now.snapshots,
        snapshot=None,
        msg=error.full_message + told,
        power=(plan.vm.power, now.power),
        error=None if isinstance(error, MergeGoesOnError) else error,
        merge=error.progress if isinstance(error, MergeGoesOnError) else None,
        removed=removed,
        kept=kept,
        files_removed=error.files_removed,
        copied=plan.copied,
    )


def _left(plan: RemovalPlan) -> tuple[Snapshot, ...]:
    return reduce(without, (one.name for one in plan.snapshots), plan.vm.snapshots)


def _outcome(plan: RemovalPlan, after: tuple[Snapshot, ...], word: str, notes: tuple[str, ...]) -> VmOutcome:
    names = plan.names
    subject = f"snapshot {names[0]!r}" if len(names) == 1 else f"{len(names)} snapshots ({', '.join(names)})"
    return VmOutcome(
        vm_id=plan.vm.id,
        before=plan.vm.snapshots,
        after=after,
        snapshot=None,
        msg=". ".join((f"{subject} {word}", *notes)),
        notes=notes,
        power=(plan.vm.power, plan.vm.power),
        removed=names,
        kept=tuple(one.file for one in plan.kept),
        files_removed=plan.dropped,
        copied=plan.copied,
    )
