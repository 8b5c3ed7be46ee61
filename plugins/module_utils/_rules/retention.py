# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which snapshots a retention lets go, and why each other one stays.

A snapshot goes if it is meant (who took it, names, labels), nothing protects it, and every rule that is given lets it go. The
guide `docs/docsite/rst/guide_retention.rst` has the table of that.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone, tzinfo
from typing import Any, Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.group import is_pending
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.keeping.directories import (
    exclusive_directories,
    lies_in,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.keeping.expiry import has_expired
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.keeping.labels import carries, label_filter
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.keeping.periods import (
    PERIODS,
    Dated,
    Reason,
    kept_by_rules,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.keeping.times import span, taken_at
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.keeping.zones import zone_of
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.snapshot_names import name_matches
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import Snapshot
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.storage import Leftover

_NO_NAME = re.compile(r"""^\[?["']|["']\]?$|^\[[^\]]*$|^[^\[]*\]$|^\[(?!.-.\])[^\]]{2,}\]$""")  # a list as text, quotes
_COUNTS = ("keep_last", *(f"keep_{rule}" for rule in PERIODS))


@dataclass(frozen=True)
class Retention:
    """What a task lets go: what it says nothing of is None. All that is said must agree before a snapshot goes.

    ``zone`` is where the days of ``keep_daily`` and the like begin.
    """

    keep_last: Optional[int] = None
    older_than: Optional[timedelta] = None
    names: Optional[tuple[str, ...]] = None
    protect: tuple[str, ...] = ()
    include_foreign: bool = False
    orphans: bool = False
    detached: bool = False
    exclusive_dirs: tuple[str, ...] = ()
    labels: Optional[Mapping[str, str]] = None
    expired: bool = False
    keep_hourly: Optional[int] = None
    keep_daily: Optional[int] = None
    keep_weekly: Optional[int] = None
    keep_monthly: Optional[int] = None
    keep_yearly: Optional[int] = None
    zone: tzinfo = timezone.utc

    @property
    def of_files(self) -> bool:
        """Whether overlays are meant that nothing of the VM needs any more."""
        return self.orphans or self.detached or bool(self.exclusive_dirs)

    def gives_up(self, overlay: Leftover) -> bool:
        """Whether the task says that the data of an overlay that is kept may be thrown away."""
        if not overlay.given_up_by_name:
            return False
        exclusive = lies_in(overlay.file, self.exclusive_dirs)
        return self.detached and (exclusive or not overlay.shared) if overlay.why == "detached" else exclusive

    @property
    def counts(self) -> dict[str, int]:
        """How many each rule keeps that is given."""
        return {option: count for option in _COUNTS if (count := getattr(self, option)) is not None}

    @property
    def of_snapshots(self) -> bool:
        """Whether snapshots are meant at all; without a word on which, orphans alone are."""
        given = (self.older_than, self.names, self.labels)
        return self.expired or bool(self.counts) or any(value is not None for value in given)

    @property
    def by_age(self) -> bool:
        """Whether it matters when a snapshot was taken."""
        return any(self.counts.values()) or self.older_than is not None

    @property
    def keeps_nothing(self) -> bool:
        """Whether there are rules of what to keep, and they keep nothing."""
        ruled = bool(self.counts) or self.older_than is not None
        return ruled and not (self.expired or any(self.counts.values()) or self.older_than)


@dataclass(frozen=True)
class Choice:
    """A VM's snapshots that go, leaf first, and by name why each of the others that were meant stays."""

    removed: tuple[Snapshot, ...]
    kept: dict[str, tuple[Reason, ...]]

    @property
    def reasons(self) -> str:
        """Why snapshots stay, counted by the rules that keep them."""
        counted = Counter(" and ".join(reason.rule for reason in reasons) for reasons in self.kept.values())
        return ", ".join(f"{number} {reason}" for reason, number in counted.items())

    @property
    def told(self) -> dict[str, list[str]]:
        """Why each one stays, as results have it."""
        return {name: [str(reason) for reason in reasons] for name, reasons in self.kept.items()}


def retention(params: dict[str, Any]) -> Retention:
    """Return what the task lets go; raise ``bad_request`` where that makes no sense, or would be everything.

    Raises ``missing_library`` where the host does not know the time zone.
    """
    for option in (*_COUNTS, "bandwidth"):
        if (params[option] or 0) < 0:
            raise _bad_request(f"{option} is {params[option]}. It must be 0 or more.", _correct(option))
    slips = [one for one in params["protect"] if not one.strip() or _NO_NAME.search(one.strip())]
    if slips:
        why = f"protect has {slips[0]!r}, which is no name: what it was to protect would go."
        raise _bad_request(why, "Look for an empty variable, or for quotes or brackets that are a part of the text.")
    needs_zone = params["timezone"] is not None or any(params[f"keep_{rule}"] for rule in PERIODS)
    wish = Retention(
        **{option: params[option] for option in _COUNTS},
        older_than=None if params["older_than"] is None else age(params["older_than"]),
        names=None if params["names"] is None else tuple(params["names"]),
        protect=tuple(params["protect"]),
        include_foreign=params["include_foreign"],
        orphans=params["orphans"],
        detached=params["detached"],
        exclusive_dirs=exclusive_directories(params["exclusive_dirs"]),
        labels=label_filter(params["labels"]),
        expired=params["expired"],
        zone=zone_of(params["timezone"]) if needs_zone else timezone.utc,
    )
    if not (wish.of_snapshots or wish.of_files):
        message = (
            "None of keep_last, keep_hourly, keep_daily, keep_weekly, keep_monthly, keep_yearly, older_than, expired, names, "
            "labels, orphans, detached and exclusive_dirs is given, so every snapshot would go."
        )
        raise _bad_request(message, "Say what to keep, or give names: '*' to remove all.")
    if wish.keeps_nothing and not params["allow_keep_nothing"]:
        rules = [f"{option}: 0" for option in wish.counts]
        rules += [] if wish.older_than is None else [f"older_than: {params['older_than']}"]
        keep = "keeps" if len(rules) == 1 else "together keep"
        remedy = "Say what to keep. If all of them are to go, give allow_keep_nothing: true."
        raise _bad_request(f"{' and '.join(rules)} {keep} no snapshot of those that may go.", remedy)
    return wish


def _correct(option: str) -> str:
    if option == "bandwidth":
        return "Correct it."
    return "Correct it. To keep one of each period without a limit, give a large number such as 9999."


def age(text: str) -> timedelta:
    """Return the time that ``7d`` and the like are; raise ``bad_request`` for anything else."""
    found = span(text)
    if found is None:
        raise _bad_request(
            f"older_than is {text!r}, which is not an age.",
            "Give a number followed by s, m, h, d or w, such as 12h for hours, 7d for days or 2w for weeks.",
        )
    return found


def choose(snapshots: Sequence[Snapshot], wish: Retention, now: datetime) -> Choice:
    """Decide which of a VM's snapshots go; they are in tree order, a parent before its children."""
    if not wish.of_snapshots:
        return Choice((), {})
    meant = [one for one in snapshots if _is_meant(one, wish)]
    kept = {one.name: reasons for one in meant if (reasons := _protection(one, wish))}
    candidates = [one for one in meant if one.name not in kept]
    times = {one.name: taken_at(one) for one in snapshots}
    unsure = {
        one.name: reasons
        for one in candidates
        if wish.by_age and (reasons := _without_age(one, now, times.get(one.parent or "")))
    }
    dated = _newest_first([one for one in candidates if one.name not in unsure])
    ruled = _kept_by_counts(dated, wish)
    for one, taken in dated:
        reasons = (*ruled.get(one.name, ()), *_too_young(taken, wish, now))
        kept.update({one.name: reasons} if reasons else {})
    kept.update(unsure)
    for one in candidates:
        if wish.expired and not has_expired(one, now):
            kept[one.name] = (*kept.get(one.name, ()), Reason("not expired"))
    removed = tuple(one for one in reversed(meant) if one.name not in kept)
    return Choice(removed, {one.name: kept[one.name] for one in meant if one.name in kept})


def _is_meant(snapshot: Snapshot, wish: Retention) -> bool:
    named = wish.names is None or name_matches(snapshot.name, wish.names)
    return (snapshot.owned or wish.include_foreign) and named and carries(snapshot, wish.labels)


def _protection(snapshot: Snapshot, wish: Retention) -> tuple[Reason, ...]:
    if snapshot.protected:
        return (Reason("protected"),)
    if is_pending(snapshot):  # a module sees one host: only the playbooks over all hosts decide about a group
        return (Reason("of a group that is not confirmed yet"),)
    return (Reason("matching protect"),) if name_matches(snapshot.name, wish.protect) else ()


def _without_age(snapshot: Snapshot, now: datetime, parent: Optional[datetime]) -> tuple[Reason, ...]:
    """Return why nobody knows how old a snapshot is: it stays then, and takes no other one's place.

    One that was taken before its ``parent`` was taken while the host's clock was behind: it may be the newest.
    """
    taken = taken_at(snapshot)
    if taken is None:
        return (Reason("of unknown age"),)
    if taken > now:
        return (Reason("from the future"),)
    return (Reason("older than its parent"),) if parent and taken < parent <= now else ()


def _newest_first(snapshots: Sequence[Snapshot]) -> list[Dated]:
    # Of two in the same second the later one in tree order is newer: sorting leaves them in their order.
    dated = [(one, taken) for one in snapshots if (taken := taken_at(one))]
    return sorted(dated, key=lambda one: one[1])[::-1]


def _kept_by_counts(dated: Sequence[Dated], wish: Retention) -> dict[str, tuple[Reason, ...]]:
    newest = {one.name: (Reason(f"among the newest {wish.keep_last}"),) for one, _taken in dated[: wish.keep_last or 0]}
    periods = {rule: count for rule in PERIODS if (count := wish.counts.get(f"keep_{rule}"))}
    found = kept_by_rules(dated, periods, wish.zone)
    return {one.name: (*newest.get(one.name, ()), *found.get(one.name, ())) for one, _taken in dated}


def _too_young(taken: datetime, wish: Retention, now: datetime) -> tuple[Reason, ...]:
    is_young = wish.older_than is not None and now - taken <= wish.older_than
    return (Reason("not old enough"),) if is_young else ()


def _bad_request(message: str, remedy: str) -> KvmError:
    return KvmError("bad_request", message, f"Nothing was changed. {remedy}")
