# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""State ``present``: the snapshot is taken where there is none of that name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Callable, Optional, Union

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.contract import Hypervisor
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.allowed_texts import check_texts
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.image_changes import CHANGED
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.keeping.expiry import (
    check_expiry,
    expiry,
    refuse_expired,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.keeping.times import taken_at
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.snapshot_names import check_snapshot_name
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.snapshot_tree import with_taken
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.taking.existing_snapshot import existing_snapshot
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.taking.freeze import decide_freeze
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.taking.memory import resolve_memory
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.action import Action, Nothing
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.free_space import without_room
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.outcome import VmOutcome
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.deadline import Deadline
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.plan import Done, SnapshotPlan
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.request import SnapshotRequest
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import Snapshot
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import VirtualMachine


@dataclass(frozen=True)
class Annotation:
    """A snapshot that is there already, as it is to be noted from now on, and in words what of it changes."""

    vm: VirtualMachine
    snapshot: Snapshot
    changes: str


class Present(Action[Union[SnapshotRequest, Annotation], Union[SnapshotPlan, Annotation]]):
    """Make the requested snapshot exist. Raises ``bad_name``, ``bad_request`` or ``overlay_dir_unusable``."""

    def __init__(self, request: SnapshotRequest, now: Optional[datetime] = None) -> None:
        self._now = now or datetime.now(timezone.utc)
        check_snapshot_name(request.name)
        check_texts(request)
        check_expiry(request.expires, self._now)
        _check_overlay_dir(request.overlay_dir)
        self._request = request

    def decide(self, vm: VirtualMachine) -> Union[SnapshotRequest, Annotation, Nothing]:
        existing = existing_snapshot(vm, self._request)
        if existing is None:
            return self._request
        noted = _noted(existing, self._request)
        changes = [word for key, word in _CHANGEABLE.items() if getattr(noted, key) != getattr(existing, key)]
        if "expiry" in changes:
            refuse_expired(vm.name, noted, str(self._request.expires), self._now)
        if changes:
            return Annotation(vm, noted, " and ".join(filter(None, (", ".join(changes[:-1]), changes[-1]))))
        # Asked for again it is the same; whether it is what the task would have it is not always known.
        notes, said = [], [f"snapshot {self._request.name!r} already exists"]
        if "include_memory" in existing.untold:
            notes.append("qx-node does not tell whether it holds the memory")
            said += notes if self._request.include_memory else []
        if self._request.description and "description" in existing.untold:
            notes.append("qx-node does not tell its description, which stays as it is")
            said.append(notes[-1])
        spoilt = _spoilt(existing)
        return Nothing(vm, "; ".join([*said, *spoilt]), existing, (*notes, *spoilt))

    def plans_ahead(self, _vm: VirtualMachine, _wish: Union[SnapshotRequest, Annotation]) -> bool:
        return True  # all VMs of a file system share its room

    def holds(self, hypervisor: Hypervisor, plan: Union[SnapshotPlan, Annotation]) -> bool:
        return isinstance(plan, SnapshotPlan) and hypervisor.is_still(plan.vm)

    def plan(
        self, hypervisor: Hypervisor, vm: VirtualMachine, wish: Union[SnapshotRequest, Annotation]
    ) -> Union[SnapshotPlan, Annotation, Nothing]:
        if isinstance(wish, Annotation):
            refusal = hypervisor.cannot_annotate()
            if refusal:
                raise refusal
            return wish
        plan = plan_take(hypervisor, vm, wish)
        # A span counts from when the snapshot is taken, which is not known yet.
        predicted = replace(plan.snapshot, expires=expiry(wish.expires, self._now))
        return _nothing_to_take(plan) if _is_empty(plan) else replace(plan, snapshot=predicted)

    def refuse(self, hypervisor: Hypervisor, plans: Sequence[Union[SnapshotPlan, Annotation]]) -> dict[str, KvmError]:
        return without_room(hypervisor, [plan for plan in plans if isinstance(plan, SnapshotPlan)])

    def predict(self, plan: Union[SnapshotPlan, Annotation]) -> VmOutcome:
        if isinstance(plan, Annotation):
            return annotation_outcome(plan, "would be changed")
        return _taken(plan, Done(plan.notes), "would be taken")

    def act(self, hypervisor: Hypervisor, plan: Union[SnapshotPlan, Annotation], deadline: Deadline) -> VmOutcome:
        if isinstance(plan, Annotation):
            hypervisor.annotate(plan.vm, plan.snapshot)
            return annotation_outcome(plan, "changed")
        return taken(hypervisor, plan, lambda: hypervisor.take(plan, deadline))


def _spoilt(existing: Snapshot) -> list[str]:
    """Return what to tell of a snapshot that is there, and that a revert would be refused to."""
    why = [f"{file} is gone" for file in existing.missing_files]
    why += ["others have changed its images since"] if existing.past == CHANGED else []
    return [f"it is of no use as it is, since {' and '.join(why)}: take one with another name"] if why else []


def taken(hypervisor: Hypervisor, plan: SnapshotPlan, take: Callable[[], Done]) -> VmOutcome:
    """Take a planned snapshot, and tell what came of it, also where it is there in spite of an error."""
    try:
        return _taken(plan, take(), "taken")
    except KvmError as error:
        return _taken_with_error(hypervisor, plan, error)


def plan_take(hypervisor: Hypervisor, vm: VirtualMachine, request: SnapshotRequest) -> SnapshotPlan:
    """Decide memory, freeze, disks and files of a snapshot that is not there yet."""
    resolved, memory_notes = resolve_memory(vm, request)
    freeze, freeze_notes = decide_freeze(vm, resolved)
    plan = hypervisor.plan_take(vm, resolved)
    if plan.request.include_memory != resolved.include_memory:  # the backend leaves it out, as the task allows
        freeze, freeze_notes = decide_freeze(vm, plan.request)
    # Whether a freeze will succeed is not known beforehand; that there will be none is.
    predicted = replace(plan.snapshot, quiesced=None if freeze else False)
    return replace(plan, freeze=freeze, notes=memory_notes + freeze_notes + plan.notes, snapshot=predicted)


def _is_empty(plan: SnapshotPlan) -> bool:
    return not plan.snapshot.disks and "disks" not in plan.snapshot.untold


def _nothing_to_take(plan: SnapshotPlan) -> Nothing:
    parts = "; ".join(f"{part.target}: {part.reason}" for part in plan.snapshot.left_out) or "it has no disks"
    msg = f"no snapshot was taken, because the VM has no disk that a snapshot can hold ({parts})"
    return Nothing(plan.vm, msg, notes=(msg,))


# What of a snapshot that is there a task may change, and what messages call it.
_CHANGEABLE = {"description": "description", "protected": "protection", "labels": "labels", "expires": "expiry"}


def _noted(existing: Snapshot, request: SnapshotRequest) -> Snapshot:
    """Return a snapshot as the task would have it noted; what the task or the hypervisor says nothing of stays as it is."""
    given = {key: value for key in _CHANGEABLE if (value := getattr(request, key)) is not None}
    if request.expires is not None:
        given["expires"] = expiry(request.expires, taken_at(existing))
    return replace(existing, **{key: value for key, value in given.items() if key not in existing.untold})


def _check_overlay_dir(overlay_dir: str | None) -> None:
    if overlay_dir is not None and not os.path.isabs(overlay_dir):
        remedy = "Nothing was changed. Give a path that begins with /."
        message = f"overlay_dir is {overlay_dir!r}, which is not an absolute path."
        raise KvmError("overlay_dir_unusable", message, remedy, directory=overlay_dir)


def annotation_outcome(plan: Annotation, word: str) -> VmOutcome:
    """Return what becomes of a VM of which a snapshot is noted otherwise."""
    before = plan.vm.snapshots
    after = tuple(plan.snapshot if one.name == plan.snapshot.name else one for one in before)
    spoilt = tuple(_spoilt(plan.snapshot))
    msg = "; ".join((f"snapshot {plan.snapshot.name!r} already exists", f"its {plan.changes} {word}", *spoilt))
    power = (plan.vm.power, plan.vm.power)
    return VmOutcome(plan.vm.id, before, after, plan.snapshot, msg, notes=spoilt, power=power)


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
        power=(plan.vm.power, plan.vm.power),
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
        power=(plan.vm.power, now.power),
        error=error,
    )
