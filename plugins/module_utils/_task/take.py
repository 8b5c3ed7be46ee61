# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""State ``present``: the snapshot is taken where there is none of that name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Union

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.contract import Hypervisor
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.names import check_snapshot_name
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.taking.existing import existing_snapshot
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.taking.freeze import decide_freeze
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.taking.memory import resolve_memory
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.texts import check_texts
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.tree import with_taken
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.action import Action, Nothing
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.fleet_room import without_room
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.outcome import VmOutcome
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.deadline import Deadline
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.plan import Done, SnapshotPlan
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.request import SnapshotRequest
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import Snapshot
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import VirtualMachine


@dataclass(frozen=True)
class Note:
    """A snapshot that is there already, to be noted down otherwise: its protection or its labels."""

    vm: VirtualMachine
    snapshot: Snapshot


class Present(Action[Union[SnapshotRequest, Note], Union[SnapshotPlan, Note]]):
    """Make the requested snapshot exist. Raises ``bad_name``, ``bad_request`` or ``overlay_dir_unusable``."""

    def __init__(self, request: SnapshotRequest) -> None:
        check_snapshot_name(request.name)
        check_texts(request)
        _check_overlay_dir(request.overlay_dir)
        self._request = request

    def decide(self, vm: VirtualMachine) -> Union[SnapshotRequest, Note, Nothing]:
        existing = existing_snapshot(vm, self._request)
        if existing is None:
            return self._request
        noted = _noted(existing, self._request)
        if noted != existing:
            return Note(vm, noted)
        # Asked for again it is the same; whether it is what the task would have it is not always known.
        msg, untold = (
            f"snapshot {self._request.name!r} already exists",
            ("qx-node does not tell whether it holds the memory"),
        )
        if "include_memory" not in existing.untold:
            return Nothing(vm, msg, existing)
        return Nothing(vm, f"{msg}; {untold}" if self._request.include_memory else msg, existing, (untold,))

    def plans_ahead(self, _vm: VirtualMachine, _wish: Union[SnapshotRequest, Note]) -> bool:
        return True  # all VMs of a file system share its room

    def plan(
        self, hypervisor: Hypervisor, vm: VirtualMachine, wish: Union[SnapshotRequest, Note]
    ) -> Union[SnapshotPlan, Note, Nothing]:
        if isinstance(wish, Note):
            return wish
        plan = plan_take(hypervisor, vm, wish)
        return _nothing_to_take(plan) if _is_empty(plan) else plan

    def refuse(self, hypervisor: Hypervisor, plans: Sequence[Union[SnapshotPlan, Note]]) -> dict[str, KvmError]:
        return without_room(hypervisor, [plan for plan in plans if isinstance(plan, SnapshotPlan)])

    def predict(self, plan: Union[SnapshotPlan, Note]) -> VmOutcome:
        if isinstance(plan, Note):
            return _note_outcome(plan, "would be changed")
        return _taken(plan, Done(plan.notes), "would be taken")

    def act(self, hypervisor: Hypervisor, plan: Union[SnapshotPlan, Note], deadline: Deadline) -> VmOutcome:
        if isinstance(plan, Note):
            hypervisor.annotate(plan.vm, plan.snapshot)
            return _note_outcome(plan, "changed")
        try:
            return _taken(plan, hypervisor.take(plan, deadline), "taken")
        except KvmError as error:
            return _taken_with_error(hypervisor, plan, error)


def plan_take(hypervisor: Hypervisor, vm: VirtualMachine, request: SnapshotRequest) -> SnapshotPlan:
    """Decide memory, freeze, disks and files of a snapshot that is not there yet."""
    resolved, memory_notes = resolve_memory(vm, request)
    freeze, freeze_notes = decide_freeze(vm, resolved)
    plan = hypervisor.plan_take(vm, resolved)
    # Whether a freeze will succeed is not known beforehand; that there will be none is.
    predicted = replace(plan.snapshot, quiesced=None if freeze else False)
    return replace(plan, freeze=freeze, notes=memory_notes + freeze_notes + plan.notes, snapshot=predicted)


def _is_empty(plan: SnapshotPlan) -> bool:
    return not plan.snapshot.disks and "disks" not in plan.snapshot.untold


def _nothing_to_take(plan: SnapshotPlan) -> Nothing:
    parts = "; ".join(f"{part.target}: {part.reason}" for part in plan.snapshot.left_out) or "it has no disks"
    msg = f"no snapshot was taken, because the VM has no disk that a snapshot can hold ({parts})"
    return Nothing(plan.vm, msg, notes=(msg,))


def _noted(existing: Snapshot, request: SnapshotRequest) -> Snapshot:
    return replace(
        existing,
        protected=existing.protected if request.protected is None else request.protected,
        labels=existing.labels if request.labels is None else request.labels,
    )


def _check_overlay_dir(overlay_dir: str | None) -> None:
    if overlay_dir is not None and not os.path.isabs(overlay_dir):
        remedy = "Nothing was changed. Give a path that begins with /."
        message = f"overlay_dir is {overlay_dir!r}, which is not an absolute path."
        raise KvmError("overlay_dir_unusable", message, remedy, directory=overlay_dir)


def _note_outcome(plan: Note, word: str) -> VmOutcome:
    before = plan.vm.snapshots
    after = tuple(plan.snapshot if one.name == plan.snapshot.name else one for one in before)
    msg = f"snapshot {plan.snapshot.name!r} already exists; its protection or labels {word}"
    return VmOutcome(plan.vm.id, before, after, plan.snapshot, msg, power=(plan.vm.state, plan.vm.state))


def _taken(plan: SnapshotPlan, done: Done, word: str) -> VmOutcome:
    snapshot = done.snapshot or plan.snapshot
    kind = "with memory" if snapshot.include_memory else "disk-only"
    if snapshot.quiesced:
        kind += ", quiesced"
    return VmOutcome(
        vm_id=plan.vm.id,
        before=plan.vm.snapshots,
        after=with_taken(plan.vm.snapshots, snapshot),
        snapshot=snapshot,
        msg=". ".join((f"snapshot {plan.request.name!r} {word} ({kind})", *done.notes)),
        notes=done.notes,
        power=(plan.vm.state, plan.vm.state),
    )


def _taken_with_error(hypervisor: Hypervisor, plan: SnapshotPlan, error: KvmError) -> VmOutcome:
    """Tell of a snapshot that may be there all the same, or raise the error where that cannot be told."""
    try:
        now = hypervisor.inspect(plan.vm.id)
    except KvmError:
        raise error from None
    return VmOutcome(
        vm_id=plan.vm.id,
        before=plan.vm.snapshots,
        after=now.snapshots,
        snapshot=now.find(plan.request.name),
        msg=error.full_message,
        power=(plan.vm.state, now.state),
        error=error,
    )
