# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Spans and moments as operators write them."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.keeping.times import moment, recorded, span


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("90s", timedelta(seconds=90)),
        ("5m", timedelta(minutes=5)),
        ("2h", timedelta(hours=2)),
        ("7d", timedelta(days=7)),
        ("1w", timedelta(weeks=1)),
        ("7", None),
        ("d", None),
        ("-1d", None),
        ("1.5h", None),
        ("9999999999w", None),
    ],
)
def test_a_span_is_a_number_with_a_unit_and_nothing_else(text: str, time: timedelta | None) -> None:
    assert span(text) == time


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("2026-03-01", datetime(2026, 3, 2, tzinfo=timezone.utc)),
        ("2026-03-01 10:30", datetime(2026, 3, 1, 10, 30, tzinfo=timezone.utc)),
        ("2026-03-01T10:30:05Z", datetime(2026, 3, 1, 10, 30, 5, tzinfo=timezone.utc)),
        ("2026-03-01T10:30+02:00", datetime(2026, 3, 1, 8, 30, tzinfo=timezone.utc)),
        ("2026-02-30", None),
        ("9999-12-31", None),
        ("tomorrow", None),
    ],
)
def test_a_date_lasts_until_its_end_and_a_time_without_a_zone_is_utc(text: str, when: datetime | None) -> None:
    assert moment(text) == when


def test_a_record_that_cannot_be_read_is_no_time() -> None:
    assert recorded(None) is None
    assert recorded("soon") is None
    assert recorded("2026-03-01T10:30:00") == datetime(2026, 3, 1, 10, 30, tzinfo=timezone.utc)
