# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a snapshot expires: what is read of a task, what is refused, and what has expired."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Optional

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.keeping.expiry import (
    check_expiry,
    expiry,
    has_expired,
    refuse_expired,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils.values import snapshot

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=timezone.utc)
TAKEN = NOW - timedelta(days=20)


@pytest.mark.parametrize(
    ("text", "end"),
    [
        (None, None),
        ("never", None),
        ("90s", "2026-11-04T12:01:30+00:00"),
        ("12h", "2026-11-05T00:00:00+00:00"),
        ("30d", "2026-12-04T12:00:00+00:00"),
        ("2w", "2026-11-18T12:00:00+00:00"),
        ("2026-12-24", "2026-12-25T00:00:00+00:00"),  # that day too
        ("2026-12-24T18:00", "2026-12-24T18:00:00+00:00"),
        ("2026-12-24 18:00:30", "2026-12-24T18:00:30+00:00"),
        ("2026-12-24T18:00Z", "2026-12-24T18:00:00+00:00"),
        ("2026-12-24T18:00:00+01:00", "2026-12-24T17:00:00+00:00"),
    ],
)
def test_when_it_expires(text: Optional[str], end: Optional[str]) -> None:
    assert expiry(text, TAKEN) == end


@pytest.mark.parametrize("text", ["never", "1s", "36525d", "2026-11-24", "2026-11-24T12:01", "9999-12-30"])
def test_what_is_taken(text: str) -> None:
    check_expiry(text, NOW)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "neither a time span nor a date"),
        ("14", "neither"),
        ("14x", "neither"),
        ("-14d", "neither"),
        ("1.5d", "neither"),
        ("14D", "neither"),
        ("14 d", "neither"),
        ("14d\n", "neither"),
        ("\u0661d", "neither"),
        ("9" * 30 + "w", "neither"),
        ("Never", "neither"),
        ("tomorrow", "neither"),
        ("24.12.2026", "neither"),
        ("20261224", "neither"),
        ("2026-W52-4", "neither"),
        ("2026-02-30", "neither"),
        ("2026-12-24T25:00", "neither"),
        ("2026-12-24T18:00 CET", "neither"),
        ("9999-12-31", "neither"),  # its end is beyond the calendar
        ("0001-01-01T00:00+01:00", "neither"),
        ("0d", "over at once"),
        ("2026-11-23", "in the past"),
        ("2026-11-24T12:00", "in the past"),
        ("2026-11-24T12:30+01:00", "in the past"),
        ("36526d", "more than 100 years"),
    ],
)
def test_what_is_refused_and_why(text: str, says: str) -> None:
    with pytest.raises(KvmError) as caught:
        check_expiry(text, NOW)
    assert caught.value.error_code == "bad_request"
    assert repr(text) in caught.value.message
    assert says in caught.value.message
    assert "Nothing was changed." in caught.value.full_message


def test_a_span_wants_to_know_when_it_was_taken() -> None:
    assert expiry("2026-12-24T18:00", None) == "2026-12-24T18:00:00+00:00"
    with pytest.raises(KvmError, match="nobody knows when the snapshot was taken"):
        expiry("14d", None)


@pytest.mark.parametrize(
    ("expires", "expired"),
    [
        (None, False),
        ("2026-11-24T11:59:59+00:00", True),
        ("2026-11-24T12:00:00+00:00", True),
        ("2026-11-24T12:00:01+00:00", False),
        ("2026-11-24T12:30:00+01:00", True),
        ("2026-11-24T11:00:00", True),
        ("soon", False),  # what cannot be read is never gone
        ("", False),
    ],
)
def test_what_has_expired(expires: Optional[str], expired: bool) -> None:
    assert has_expired(snapshot("s", expires=expires), NOW) is expired


def test_an_old_snapshot_does_not_expire_at_once_by_a_slip() -> None:
    wanted = snapshot("s", created_at=TAKEN.isoformat(), expires=expiry("14d", TAKEN))
    with pytest.raises(KvmError, match="would have expired at 2026-11-18") as caught:
        refuse_expired("web01", wanted, "14d", NOW)
    assert caught.value.error_code == "bad_request"
    refuse_expired("web01", snapshot("s", expires=expiry("21d", TAKEN)), "21d", NOW)
    refuse_expired("web01", snapshot("s"), "never", NOW)
