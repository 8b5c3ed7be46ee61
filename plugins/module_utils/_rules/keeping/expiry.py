# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a snapshot expires: what a task says of that, and what is kept of it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.keeping.times import moment, recorded, span
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import Snapshot

NEVER = "never"
_LONGEST = timedelta(days=36525)  # a century: never is shorter to write, and the calendar ends with the year 9999


def check_expiry(text: Optional[str], now: datetime) -> None:
    """Raise ``bad_request`` for what is no expiry, or one that is over already."""
    if text is None or text == NEVER:
        return
    length, end = span(text), moment(text)
    if length is None and end is None:
        raise _bad(
            f"expires is {text!r}, which is neither a time span nor a date.",
            "Give a number followed by s, m, h, d or w (14d is 14 days after the snapshot was taken), a date such as "
            "2026-12-24, a date and time such as 2026-12-24T18:00+01:00, or never.",
        )
    if (length is not None and not length) or (end is not None and end <= now):
        over = "is in the past" if end else "would be over at once"
        raise _bad(f"expires is {text!r}, which {over}.", "Give a later time. To remove snapshots, use state: absent.")
    if length is not None and length > _LONGEST:
        raise _bad(f"expires is {text!r}, which is more than 100 years.", "Give a shorter time, or never.")


def expiry(text: Optional[str], taken: Optional[datetime]) -> Optional[str]:
    """Return when a snapshot that was ``taken`` then expires, as records and results have it; None is never.

    A span counts from when the snapshot was taken: so the same task says the same each time it runs.
    Raises ``bad_request`` where nobody knows when that was.
    """
    if text is None or text == NEVER:
        return None
    length = span(text)
    if length is None:
        end = moment(text)
    elif taken is None:
        raise _bad(f"expires is {text!r}, and nobody knows when the snapshot was taken.", "Give a date instead.")
    else:
        end = taken.replace(microsecond=0) + length
    return end.isoformat() if end else None


def has_expired(snapshot: Snapshot, now: datetime) -> bool:
    """Whether a snapshot has expired; one whose expiry cannot be read has not."""
    end = recorded(snapshot.expires)
    return end is not None and end <= now


def refuse_expired(vm: str, wanted: Snapshot, text: str, now: datetime) -> None:
    """Raise ``bad_request`` where a new expiry of a snapshot that is there is over already: the next prune would remove it."""
    if has_expired(wanted, now):
        raise _bad(
            f"Snapshot {wanted.name!r} of {vm} was taken at {wanted.created_at}. With expires: {text} it would have "
            f"expired at {wanted.expires}.",
            "To keep the snapshot, give a date in the future or never. To remove it, use state: absent.",
        )


def _bad(message: str, remedy: str) -> KvmError:
    return KvmError("bad_request", message, f"Nothing was changed. {remedy}")
