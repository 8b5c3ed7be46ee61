# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which snapshots a retention lets go, and their removal; overlays that others left are cleared too where asked for."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Optional, Union

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.contract import Hypervisor
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.retention import (
    Choice,
    Retention,
    choose,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.action import Action, Nothing
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.files_removed import in_order
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.outcome import VmOutcome, Wording, outcome
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.remove import Absent
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.deadline import Deadline
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.plan import RemovalPlan
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.sizes import mebibytes
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.storage import Storage
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import VirtualMachine


@dataclass(frozen=True)
class Pruning:
    """What goes of a VM: snapshots, where any do, overlays that nothing needs, and those ``later`` that a removal keeps.

    Among these are those ``given_up``: kept overlays, whose data the task throws away.
    """

    vm: VirtualMachine
    choice: Choice
    removal: Optional[RemovalPlan]
    orphans: tuple[str, ...]
    later: tuple[str, ...] = ()
    given_up: tuple[str, ...] = ()


class Prune(Action[Choice, Pruning]):
    """Remove what the retention lets go. ``now`` is one for the whole task: check and act agree."""

    def __init__(self, wish: Retention, now: datetime, bandwidth: int = 0) -> None:
        self._wish = wish
        self._now = now
        self._absent = Absent(lambda vm: choose(vm.snapshots, wish, now).removed, bandwidth)

    def decide(self, vm: VirtualMachine) -> Union[Choice, Nothing]:
        choice = choose(vm.snapshots, self._wish, self._now)
        return choice if choice.removed or self._wish.of_files else self._nothing(vm, choice)

    def plans_ahead(self, _vm: VirtualMachine, wish: Choice) -> bool:
        return not wish.removed  # there may be no orphan

    def plan(self, hypervisor: Hypervisor, vm: VirtualMachine, wish: Choice) -> Union[Pruning, Nothing]:
        choice = wish
        orphans, given_up = self._unneeded(hypervisor.storage(vm)) if self._wish.of_files else ((), ())
        files = (*orphans, *given_up)
        refused = hypervisor.cannot_delete(vm, files) if files else None
        if refused:
            raise refused
        if choice.removed:
            removal = hypervisor.plan_remove(vm, choice.removed, files)
            later = [one.file for one in removal.kept if self._wish.gives_up(replace(one, snapshot=None))]
            later = [one for one in later if one not in files]
            return Pruning(vm, choice, _less(removal, later), files, tuple(later), (*given_up, *later))
        if files:
            return Pruning(vm, choice, None, files, given_up=given_up)
        return self._nothing(vm, choice)

    def _unneeded(self, storage: Storage) -> tuple[tuple[str, ...], tuple[str, ...]]:
        # While nobody has said which image a disk belongs on, what it has left may be the newest.
        left = () if storage.definition_changed else storage.leftovers
        given_up = tuple(one.file for one in left if self._wish.gives_up(one))
        return storage.orphans if self._wish.orphans else (), given_up

    def _nothing(self, vm: VirtualMachine, choice: Choice) -> Nothing:
        return Nothing(vm, self._why_nothing(vm, choice), kept=tuple(choice.kept), kept_because=choice.told)

    def _why_nothing(self, vm: VirtualMachine, choice: Choice) -> str:
        if choice.kept:
            return f"nothing to prune. Kept: {choice.reasons}"
        reasons = [_why_none(vm, self._wish)] if self._wish.of_snapshots else []
        reasons += ["no orphans"] if self._wish.of_files else []
        return f"nothing to prune: {', '.join(reasons)}"

    def may_go_on(self) -> bool:
        return True

    def predict(self, plan: Pruning) -> VmOutcome:
        removal = self._absent.predict(plan.removal) if plan.removal else _untouched(plan)
        told = _with_orphans(plan, removal, (*plan.orphans, *plan.later), "would be deleted")
        return replace(told, msg=". ".join(filter(None, (told.msg, _cost(plan.removal)))))

    def act(self, hypervisor: Hypervisor, plan: Pruning, deadline: Deadline) -> VmOutcome:
        # Orphans first: one of them may be based on a layer that is to be merged.
        deleted = in_order(plan.orphans, hypervisor.delete_orphans(plan.vm, plan.orphans)) if plan.orphans else ()
        if plan.removal is None:
            removal = _untouched(plan)
        else:
            # Planned again where some are gone: not all may be.
            vm = hypervisor.inspect(plan.vm.id) if plan.orphans else plan.vm
            again = hypervisor.plan_remove(vm, plan.removal.snapshots) if plan.orphans else plan.removal
            removal = self._absent.act(hypervisor, _less(again, plan.later), deadline)
        if plan.later and not (removal.error or removal.merge):
            try:
                deleted += hypervisor.delete_orphans(hypervisor.inspect(plan.vm.id), plan.later)
            except KvmError as error:  # what was removed before it is removed
                deleted += error.files_removed
                removal = replace(removal, error=error, msg=f"{removal.msg}. {error.full_message}")
        return _with_orphans(plan, removal, deleted, "deleted")


def _less(removal: RemovalPlan, later: Collection[str]) -> RemovalPlan:
    """Return a removal's plan that does not say of files that they are kept: this very task deletes them after it."""
    said = {str(one) for one in removal.kept if one.file in later}
    return replace(
        removal,
        notes=tuple(note for note in removal.notes if note not in said),
        kept=tuple(one for one in removal.kept if one.file not in later),
    )


def _why_none(vm: VirtualMachine, wish: Retention) -> str:
    if not vm.snapshots:
        return "it has no snapshots"
    if not wish.include_foreign and not any(one.owned for one in vm.snapshots):
        return "this collection took none of its snapshots, and include_foreign is false"
    given = [option for option in ("names", "labels") if getattr(wish, option) is not None]
    return f"no snapshot matches {' and '.join(given)}"


def _untouched(plan: Pruning) -> VmOutcome:
    vm = plan.vm
    return VmOutcome(vm.id, vm.snapshots, vm.snapshots, None, "", power=(vm.power, vm.power))


def _with_orphans(plan: Pruning, removal: VmOutcome, orphans: tuple[str, ...], word: str) -> VmOutcome:
    kept = plan.choice.kept
    parts = [removal.msg] if removal.msg else []
    if kept and not removal.error:
        parts.append(f"Kept: {plan.choice.reasons}")
    if plan.orphans or plan.later:
        parts.append(f"{_counted(orphans, plan.given_up)} {word}")
    # Those that a failure left come first; they were to go.
    names = tuple(one.name for one in plan.vm.snapshots if one.name in kept or one.name in removal.kept)
    files = tuple(one.file for one in (plan.removal.kept if plan.removal else ()) if one.file not in orphans)
    return replace(
        removal,
        msg=". ".join(parts),
        kept=(*names, *files),
        orphans_removed=orphans,
        kept_because=plan.choice.told,
        copied=plan.removal.copied if plan.removal else 0,
        needs=plan.removal.needs if plan.removal else (),
    )


def _counted(files: Collection[str], given_up: Collection[str]) -> str:
    kept = len([file for file in files if file in given_up])
    counts = ((len(files) - kept, "orphan"), (kept, "kept overlay"))
    told = [f"{count} {what}{'' if count == 1 else 's'}" for count, what in counts if count]
    return " and ".join(told) or "no orphan"


def _cost(removal: Optional[RemovalPlan]) -> str:
    """Say what merging copies and needs at most; nothing where nothing is merged, or that is not known."""
    if removal is None or not removal.copied:
        return ""
    rooms = " and ".join(f"{_mib(need.bytes)} in {need.directory}" for need in removal.needs)
    return f"Merging copies at most {_mib(removal.copied)}" + (f" and needs at most {rooms}" if rooms else "")


def _mib(size: int) -> str:
    return mebibytes(-(-size // (1 << 20)) << 20)


def result(vms: Sequence[VmOutcome], check_mode: bool) -> dict[str, Any]:
    """Return the whole result of a task: `outcome` and, for each VM, which orphans went and why snapshots stay."""
    whole = outcome(Wording("pruning", "pruned"), vms, check_mode)
    for entry, vm in zip(whole["vms"], (vm for vm in vms if not vm.missing)):
        entry.update(
            orphans_removed=list(vm.orphans_removed),
            kept_because=dict(vm.kept_because),
            room_needed=[asdict(need) for need in vm.needs],
        )
    return whole
