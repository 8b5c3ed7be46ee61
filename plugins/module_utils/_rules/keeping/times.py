# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Times as tasks and records write them."""

from __future__ import annotations

import re
from datetime import datetime, time, timedelta, timezone
from typing import Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import Snapshot

_SPAN = re.compile(r"([0-9]+)([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
# One pattern for every Python: what fromisoformat() takes differs from release to release.
_MOMENT = re.compile(r"([0-9-]{10})(?:[T ]([0-9]{2}:[0-9]{2}(?::[0-9]{2})?)(Z|[+-][0-9]{2}:[0-9]{2})?)?")


def span(text: str) -> Optional[timedelta]:
    """Return the time that ``7d`` and the like are, None for anything else."""
    match = _SPAN.fullmatch(text)
    try:
        return timedelta(**{_UNITS[match[2]]: int(match[1])}) if match else None
    except OverflowError:
        return None


def moment(text: str) -> Optional[datetime]:
    """Return the moment that a date, or a date and time, names, None for anything else.

    A date alone is the end of that day: what is to be kept until a day is kept that day too. Without a zone it is UTC.
    """
    match = _MOMENT.fullmatch(text)
    if not match:
        return None
    day, clock, zone = match.groups()
    try:
        if clock is None:
            return datetime.combine(datetime.fromisoformat(day), time(), timezone.utc) + timedelta(days=1)
        return in_utc(datetime.fromisoformat(f"{day}T{clock}{'+00:00' if zone in (None, 'Z') else zone}"))
    except (ValueError, OverflowError):
        return None


def in_utc(time_of_any_zone: datetime) -> datetime:
    """Return a moment in UTC; without a zone it is that already. Raises `OverflowError` at the ends of the calendar."""
    if time_of_any_zone.tzinfo is None:
        return time_of_any_zone.replace(tzinfo=timezone.utc)
    return time_of_any_zone.astimezone(timezone.utc)


def taken_at(snapshot: Snapshot) -> Optional[datetime]:
    """Return when a snapshot was taken, in UTC, None where that is not known."""
    return recorded(snapshot.created_at)


def recorded(text: Optional[str]) -> Optional[datetime]:
    """Return a moment that stands in a record or a result, None where it cannot be read."""
    try:
        return in_utc(datetime.fromisoformat(text or ""))
    except (ValueError, OverflowError):
        return None
