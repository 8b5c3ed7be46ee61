# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which snapshots a retention lets go, and why each other one stays."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.names import name_matches
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import Snapshot
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.storage import Leftover

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
    detached: bool = False
    exclusive_dirs: tuple[str, ...] = ()

    @property
    def of_files(self) -> bool:
        """Whether overlays are meant that nothing of the VM needs any more."""
        return self.orphans or self.detached or bool(self.exclusive_dirs)

    def gives_up(self, overlay: Leftover) -> bool:
        """Whether the task says that the data of an overlay that is kept may be thrown away."""
        if not overlay.given_up_by_name:
            return False
        if overlay.why == "detached":
            return self.detached
        return any(overlay.file.startswith(directory.rstrip("/") + "/") for directory in self.exclusive_dirs)

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
            raise _bad_request(f"{option} is {params[option]}. It must be 0 or more.", "Correct it.")
    wish = Retention(
        keep_last=params["keep_last"],
        older_than=None if params["older_than"] is None else age(params["older_than"]),
        names=None if params["names"] is None else tuple(params["names"]),
        protect=tuple(params["protect"]),
        include_foreign=params["include_foreign"],
        orphans=params["orphans"],
        detached=params["detached"],
        exclusive_dirs=tuple(params["exclusive_dirs"]),
    )
    if not (wish.of_snapshots or wish.of_files):
        message = (
            "None of keep_last, older_than, names, orphans, detached and exclusive_dirs is given, so "
            "every snapshot would go."
        )
        raise _bad_request(message, "Say what to keep, or give names: '*' to remove all.")
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
        f"older_than is {text!r}, which is not an age.",
        "Give a number followed by s, m, h, d or w, such as 12h for hours, 7d for days or 2w for weeks.",
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


def _bad_request(message: str, remedy: str) -> KvmError:
    return KvmError("bad_request", message, f"Nothing was changed. {remedy}")
