# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which snapshots stay as the last of their hour, day, week, month or year: by restic's rules, word for word.

Snapshots are looked at newest first, and each rule looks for itself. As long as its count is not used up, a rule keeps a snapshot
that lies in another period than the one it kept before, and the oldest of all. So a period without snapshots uses up nothing,
one snapshot may be kept by several rules, and what any rule keeps stays (restic's internal/data/snapshot_policy.go).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Callable

from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import Snapshot


@dataclass(frozen=True)
class Reason:
    """Why a snapshot stays: by which rule and, where it stays for a period, which that is."""

    rule: str
    period: str = ""

    def __str__(self) -> str:
        return " ".join(filter(None, (self.rule, self.period)))


def _week(taken: datetime) -> str:
    year, week, _day = taken.isocalendar()
    return f"{year:04}-W{week:02}"


# A period's name is what tells it from others: the hour that a clock goes through twice is one.
PERIODS: dict[str, Callable[[datetime], str]] = {
    "hourly": lambda taken: f"{taken:%Y-%m-%d %H}:00",
    "daily": lambda taken: f"{taken:%Y-%m-%d}",
    "weekly": _week,
    "monthly": lambda taken: f"{taken:%Y-%m}",
    "yearly": lambda taken: f"{taken:%Y}",
}
Dated = tuple[Snapshot, datetime]


def kept_by_rules(dated: Sequence[Dated], counts: Mapping[str, int], zone: tzinfo) -> dict[str, tuple[Reason, ...]]:
    """Return by name why each snapshot that a rule keeps stays; ``dated`` are all that may go, newest first."""
    found: dict[str, tuple[Reason, ...]] = {}
    for rule, count in counts.items():
        for snapshot, period in _of_rule(dated, rule, count, zone):
            found[snapshot.name] = (*found.get(snapshot.name, ()), period)
    return found


def _of_rule(dated: Sequence[Dated], rule: str, count: int, zone: tzinfo) -> list[tuple[Snapshot, Reason]]:
    kept: list[tuple[Snapshot, Reason]] = []
    last = ""
    for position, (snapshot, taken) in enumerate(dated, 1):
        period = PERIODS[rule](taken.astimezone(zone))
        is_oldest = position == len(dated)
        if len(kept) < count and (period != last or is_oldest):
            kept.append((snapshot, Reason(f"oldest {rule}" if period == last else rule, period)))
            last = period
    return kept
