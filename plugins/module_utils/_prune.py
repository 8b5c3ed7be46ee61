# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which snapshots a retention lets go, and their removal; overlays that others left are cleared too where asked for."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import Any, Optional, Union

from ansible_collections.limiquantix.kvm.plugins.module_utils._absent import Absent
from ansible_collections.limiquantix.kvm.plugins.module_utils._deadline import Deadline
from ansible_collections.limiquantix.kvm.plugins.module_utils._errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor import Hypervisor
from ansible_collections.limiquantix.kvm.plugins.module_utils._outcome import VmOutcome, Wording, outcome
from ansible_collections.limiquantix.kvm.plugins.module_utils._selection import name_matches
from ansible_collections.limiquantix.kvm.plugins.module_utils._snapshot import RemovalPlan, Snapshot, VirtualMachine
from ansible_collections.limiquantix.kvm.plugins.module_utils._task import Action, Nothing

_AGE = re.compile(r"([0-9]+)([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@dataclass(frozen=True)
class Retention:
    """What a task lets go: what it says nothing of is None. All that is said must agree before a snapshot goes."""

    keep_last: Optional[int] = None
    older_than: Optional[timedelta] = None
    names: Optional[tuple[str, ...]] = None
    protect: tuple[str, ...] = ()
    include_foreign: bool = False
    orphans: bool = False

    @property
    def of_snapshots(self) -> bool:
        """Whether snapshots are meant at all; without a word on which, orphans alone are."""
        return any(value is not None for value in (self.keep_last, self.older_than, self.names))

    @property
    def by_age(self) -> bool:
        """Whether it matters when a snapshot was taken."""
        return bool(self.keep_last) or self.older_than is not None


@dataclass(frozen=True)
class Choice:
    """A VM's snapshots that go, leaf first, and by name why each of the others that were meant stays."""

    removed: tuple[Snapshot, ...]
    kept: dict[str, str]

    @property
    def reasons(self) -> str:
        """Why snapshots stay, counted."""
        return ", ".join(f"{number} {reason}" for reason, number in Counter(self.kept.values()).items())


def retention(params: dict[str, Any]) -> Retention:
    """Return what the task lets go; raise ``bad_request`` where that makes no sense, or would be everything."""
    for option in ("keep_last", "bandwidth"):
        if (params[option] or 0) < 0:
            raise _bad_request(f"{option} is {params[option]}, and must be 0 or more.", "Correct it.")
    wish = Retention(
        keep_last=params["keep_last"],
        older_than=None if params["older_than"] is None else age(params["older_than"]),
        names=None if params["names"] is None else tuple(params["names"]),
        protect=tuple(params["protect"]),
        include_foreign=params["include_foreign"],
        orphans=params["orphans"],
    )
    if not (wish.of_snapshots or wish.orphans):
        message = "None of keep_last, older_than, names and orphans is given, so that every snapshot would go."
        raise _bad_request(message, "Say what to keep, or give names: '*' where all are meant.")
    return wish


def age(text: str) -> timedelta:
    """Return the time that ``7d`` and the like are; raise ``bad_request`` for anything else."""
    match = _AGE.fullmatch(text)
    if match:
        try:
            return timedelta(**{_UNITS[match[2]]: int(match[1])})
        except OverflowError:
            pass
    raise _bad_request(
        f"older_than is {text!r}, which is no age.",
        "Write a number and s, m, h, d or w behind it, such as 12h for hours, 7d for days or 2w for weeks.",
    )


def choose(snapshots: Sequence[Snapshot], wish: Retention, now: datetime) -> Choice:
    """Decide which of a VM's snapshots go; they are in tree order, a parent before its children."""
    if not wish.of_snapshots:
        return Choice((), {})
    meant = [
        one
        for one in snapshots
        if (one.owned or wish.include_foreign) and (wish.names is None or name_matches(one.name, wish.names))
    ]
    kept = {one.name: reason for one in meant if (reason := _protection(one, wish))}
    candidates = [one for one in meant if one.name not in kept]
    newest = _newest(candidates, wish.keep_last or 0)
    kept.update({one.name: reason for one in candidates if (reason := _reason(one, wish, now, newest))})
    removed = tuple(one for one in reversed(meant) if one.name not in kept)
    return Choice(removed, {one.name: kept[one.name] for one in meant if one.name in kept})


def _protection(snapshot: Snapshot, wish: Retention) -> str:
    if snapshot.protected:
        return "protected"
    return "matching protect" if name_matches(snapshot.name, wish.protect) else ""


def _reason(snapshot: Snapshot, wish: Retention, now: datetime, newest: set[str]) -> str:
    """Return why a snapshot stays, "" where it goes."""
    taken = _taken(snapshot)
    if taken is None:
        return "of unknown age" if wish.by_age else ""
    if snapshot.name in newest:
        return f"among the newest {wish.keep_last}"
    if wish.older_than is not None and now - taken <= wish.older_than:
        return "not old enough"
    return ""


def _newest(snapshots: Sequence[Snapshot], number: int) -> set[str]:
    # Of two in the same second the later one in tree order is newer: sorting leaves them in their order.
    dated = [(taken, one.name) for one in snapshots if (taken := _taken(one))]
    ordered = [name for _taken_at, name in sorted(dated, key=lambda one: one[0])]
    return set(ordered[len(ordered) - min(number, len(ordered)) :])


def _taken(snapshot: Snapshot) -> Optional[datetime]:
    try:
        taken = datetime.fromisoformat(snapshot.created_at or "")
    except ValueError:
        return None
    return taken if taken.tzinfo else taken.replace(tzinfo=timezone.utc)


@dataclass(frozen=True)
class Pruning:
    """What goes of a VM: snapshots, where any do, and orphans."""

    vm: VirtualMachine
    choice: Choice
    removal: Optional[RemovalPlan]
    orphans: tuple[str, ...]


class Prune(Action[Pruning]):
    """Remove what the retention lets go. ``now`` is one for the whole task: check and act agree."""

    def __init__(self, wish: Retention, now: datetime, bandwidth: int = 0) -> None:
        self._wish = wish
        self._now = now
        self._absent = Absent(lambda vm: choose(vm.snapshots, wish, now).removed, bandwidth)

    def decide(self, hypervisor: Hypervisor, vm: VirtualMachine) -> Union[Pruning, Nothing]:
        choice = choose(vm.snapshots, self._wish, self._now)
        orphans = hypervisor.storage(vm).orphans if self._wish.orphans else ()
        if choice.removed:
            return Pruning(vm, choice, hypervisor.plan_removal(vm, choice.removed, orphans), orphans)
        if orphans:
            return Pruning(vm, choice, None, orphans)
        return Nothing(vm, self._nothing(vm, choice), kept=tuple(choice.kept))

    def _nothing(self, vm: VirtualMachine, choice: Choice) -> str:
        if choice.kept:
            return f"nothing to prune. Kept: {choice.reasons}"
        reasons = [_why_none(vm, self._wish)] if self._wish.of_snapshots else []
        reasons += ["no orphans"] if self._wish.orphans else []
        return f"nothing to prune: {', '.join(reasons)}"

    def predict(self, plan: Pruning) -> VmOutcome:
        removal = self._absent.predict(plan.removal) if plan.removal else _untouched(plan)
        return _with_orphans(plan, removal, plan.orphans, "would be deleted")

    def act(self, hypervisor: Hypervisor, plan: Pruning, deadline: Deadline) -> VmOutcome:
        # Orphans first: one of them may be based on a layer that is to be merged.
        deleted = hypervisor.delete_orphans(plan.vm, plan.orphans) if plan.orphans else ()
        if plan.removal is None:
            removal = _untouched(plan)
        else:
            # Planned again where some are gone: not all may be.
            again = hypervisor.plan_removal(plan.vm, plan.removal.snapshots) if plan.orphans else plan.removal
            removal = self._absent.act(hypervisor, again, deadline)
        return _with_orphans(plan, removal, deleted, "deleted")


def _why_none(vm: VirtualMachine, wish: Retention) -> str:
    if not vm.snapshots:
        return "it has no snapshots"
    if not wish.include_foreign and not any(one.owned for one in vm.snapshots):
        return "this collection took none of its snapshots, and include_foreign is false"
    return "no snapshot matches names"


def _untouched(plan: Pruning) -> VmOutcome:
    vm = plan.vm
    return VmOutcome(vm.id, vm.snapshots, vm.snapshots, None, "", power=(vm.state, vm.state))


def _with_orphans(plan: Pruning, removal: VmOutcome, orphans: tuple[str, ...], word: str) -> VmOutcome:
    kept = plan.choice.kept
    parts = [removal.msg] if removal.msg else []
    if kept and not removal.error:
        parts.append(f"Kept: {plan.choice.reasons}")
    if plan.orphans:
        several = "" if len(orphans) == 1 else "s"
        parts.append(f"{len(orphans)} orphan{several} {word}")
    # Those that a failure left come first; they were to go.
    names = tuple(one.name for one in plan.vm.snapshots if one.name in kept or one.name in removal.kept)
    return replace(removal, msg=". ".join(parts), kept=names, orphans_removed=orphans)


def result(vms: Sequence[VmOutcome], check_mode: bool) -> dict[str, Any]:
    """Return the whole result of a task: `outcome` and, for each VM, which orphans went."""
    whole = outcome(Wording("pruning", "pruned"), vms, check_mode)
    for entry, vm in zip(whole["vms"], vms):
        entry["orphans_removed"] = list(vm.orphans_removed)
    return whole


def _bad_request(message: str, remedy: str) -> KvmError:
    return KvmError("bad_request", message, f"Nothing was changed. {remedy}")
