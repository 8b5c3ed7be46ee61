# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""restic's rules, word for word: its own cases (doc/060_forget.rst), and an independent writing of its program."""

from __future__ import annotations

import hashlib
import itertools
from datetime import datetime, timedelta, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.keeping.periods import PERIODS, kept_by_rules
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils.values import snapshot

UTC = timezone.utc
needs_zones = pytest.mark.skipif(not available_timezones(), reason="this machine has no time zones: install tzdata")


def kept(times: list[datetime], zone: tzinfo = UTC, **counts: int) -> dict[str, list[str]]:
    """Return why each is kept, by its time; the newest first, as they are looked at."""
    newest_first = sorted(times, reverse=True)
    dated = [(snapshot(one.isoformat()), one) for one in newest_first]
    return {name: [str(reason) for reason in reasons] for name, reasons in kept_by_rules(dated, counts, zone).items()}


def days(*texts: str) -> list[datetime]:
    return [datetime.fromisoformat(text).replace(tzinfo=UTC) for text in texts]


SUNDAYS = [datetime(2026, 9, 6, 11, tzinfo=UTC) + timedelta(weeks=number) for number in range(12)]


def test_twelve_sundays_with_four_daily_keep_the_last_four() -> None:
    """restic: with a snapshot on Sundays only, "--keep-daily 4" keeps "the last four snapshots, for the last four Sundays"."""
    assert kept(SUNDAYS, daily=4) == {one.isoformat(): [f"daily {one:%Y-%m-%d}"] for one in reversed(SUNDAYS[-4:])}


def test_a_count_that_is_larger_keeps_all() -> None:
    assert list(kept(SUNDAYS, daily=9999)) == [one.isoformat() for one in reversed(SUNDAYS)]
    assert kept(SUNDAYS, daily=0) == {}
    assert kept([], daily=3, yearly=1) == {}


def test_ten_days_with_three_of_two_rules_share() -> None:
    """Where borg and others keep six of these, restic keeps three (see the guide)."""
    times = [datetime(2026, 11, day, 3, tzinfo=UTC) for day in range(1, 11)]
    assert list(kept(times, daily=3, hourly=3)) == [one.isoformat() for one in times[:6:-1]]


def test_the_newest_of_a_period_stays() -> None:
    times = days("2026-11-23T23:00", "2026-11-24T01:00", "2026-11-24T13:00", "2026-11-24T22:00")
    assert list(kept(times, daily=1)) == ["2026-11-24T22:00:00+00:00"]
    assert kept(times, hourly=2) == {
        "2026-11-24T22:00:00+00:00": ["hourly 2026-11-24 22:00"],
        "2026-11-24T13:00:00+00:00": ["hourly 2026-11-24 13:00"],
    }


def test_the_oldest_stays_while_a_count_is_left() -> None:
    times = days("2026-11-01T01:00", "2026-11-01T02:00", "2026-11-20T01:00", "2026-11-24T01:00")
    found = kept(times, monthly=2)
    assert found == {
        "2026-11-24T01:00:00+00:00": ["monthly 2026-11"],
        "2026-11-01T01:00:00+00:00": ["oldest monthly 2026-11"],
    }
    assert list(kept(times, monthly=1)) == ["2026-11-24T01:00:00+00:00"]


def test_weeks_are_those_of_iso_8601_across_the_year() -> None:
    times = days("2026-12-27", "2026-12-28", "2027-01-03", "2027-01-04")
    assert kept(times, weekly=2, yearly=1) == {
        "2027-01-04T00:00:00+00:00": ["weekly 2027-W01", "yearly 2027"],
        "2027-01-03T00:00:00+00:00": ["weekly 2026-W53"],
    }


def test_two_in_one_second_use_up_one_place() -> None:
    second = datetime(2026, 11, 24, 3, tzinfo=UTC)
    dated = [(snapshot("later"), second), (snapshot("earlier"), second), (snapshot("old"), second - timedelta(days=3))]
    assert {
        name: [str(one) for one in reasons] for name, reasons in kept_by_rules(dated, {"daily": 2}, UTC).items()
    } == {
        "later": ["daily 2026-11-24"],
        "old": ["daily 2026-11-21"],
    }
    # Of two that are all there are, the oldest stays as well.
    assert list(kept_by_rules(dated[:2], {"daily": 2}, UTC)) == ["later", "earlier"]


@needs_zones
def test_a_day_is_that_of_the_zone() -> None:
    times = days("2026-11-23T22:30", "2026-11-23T23:30", "2026-11-24T22:30")
    assert kept(times, daily=3)["2026-11-23T23:30:00+00:00"] == ["daily 2026-11-23"]
    assert kept(times, ZoneInfo("Europe/Berlin"), daily=3) == {
        "2026-11-24T22:30:00+00:00": ["daily 2026-11-24"],  # 23:30 and, an hour after 23:30 of the day before, 00:30
        "2026-11-23T22:30:00+00:00": ["daily 2026-11-23"],
    }
    assert list(kept(times, ZoneInfo("Pacific/Kiritimati"), daily=3)) == [
        "2026-11-24T22:30:00+00:00",
        "2026-11-23T23:30:00+00:00",
        "2026-11-23T22:30:00+00:00",
    ]


@needs_zones
def test_the_hour_that_a_clock_goes_through_twice_is_one() -> None:
    berlin = ZoneInfo("Europe/Berlin")  # 2026-10-25: at 03:00 it is 02:00 again
    times = days("2026-10-24T22:30", "2026-10-25T00:30", "2026-10-25T01:30", "2026-10-25T02:30")
    assert list(kept(times, berlin, hourly=9).values()) == [
        ["hourly 2026-10-25 03:00"],
        ["hourly 2026-10-25 02:00"],  # of 02:30 twice the later one
        ["hourly 2026-10-25 00:00"],
    ]
    assert "2026-10-25T01:30:00+00:00" in kept(times, berlin, hourly=9)
    assert "2026-10-25T00:30:00+00:00" not in kept(times, berlin, hourly=9)


@needs_zones
def test_the_hour_that_a_clock_leaves_out_uses_up_nothing() -> None:
    berlin = ZoneInfo("Europe/Berlin")  # 2026-03-29: at 02:00 it is 03:00
    times = days("2026-03-29T00:30", "2026-03-29T01:30", "2026-03-29T02:30")
    assert list(kept(times, berlin, hourly=2).values()) == [
        ["hourly 2026-03-29 04:00"],
        ["hourly 2026-03-29 03:00"],
    ]
    # A day of 23 and one of 25 hours are a day each.
    for day, hours in ((datetime(2026, 3, 28, 23, tzinfo=UTC), 23), (datetime(2026, 10, 24, 22, tzinfo=UTC), 25)):
        whole = [day + timedelta(hours=hour) for hour in range(hours)]
        assert (
            len(kept([*whole, day + timedelta(hours=hours)], berlin, daily=9)) == 3
        )  # two days, and the oldest of all


def as_restic_does(times: list[datetime], zone: tzinfo, counts: dict[str, int]) -> set[str]:
    """ApplyPolicy of internal/data/snapshot_policy.go, as it is written there."""

    def number(rule: str, time: datetime) -> int:
        local = time.astimezone(zone)
        iso_year, iso_week, _day = local.isocalendar()
        return {
            "hourly": local.year * 1000000 + local.month * 10000 + local.day * 100 + local.hour,
            "daily": local.year * 10000 + local.month * 100 + local.day,
            "weekly": iso_year * 100 + iso_week,
            "monthly": local.year * 100 + local.month,
            "yearly": local.year,
        }[rule]

    listed = sorted(times, reverse=True)
    buckets: list[dict[str, Any]] = [{"rule": rule, "count": count, "last": -1} for rule, count in counts.items()]
    keep = set()
    for position, time in enumerate(listed):
        for bucket in buckets:
            if bucket["count"] > 0 or bucket["count"] == -1:
                value = number(bucket["rule"], time)
                if value != bucket["last"] or position == len(listed) - 1:
                    keep.add(time.isoformat())
                    bucket["last"] = value
                    if bucket["count"] > 0:
                        bucket["count"] -= 1
    return keep


@needs_zones
@pytest.mark.parametrize("seed", range(40))
def test_it_is_what_restic_would_keep(seed: int) -> None:
    def chance(below: int) -> int:
        return next(numbers) % below

    numbers = (
        int.from_bytes(hashlib.sha256(f"{seed} {number}".encode()).digest(), "big") for number in itertools.count()
    )
    zones = ("UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kathmandu")
    zone = ZoneInfo(zones[chance(len(zones))])
    spread = (3, 60, 900, 30000)[chance(4)] * 3600
    times = list({datetime(2026, 11, 24, tzinfo=UTC) - timedelta(seconds=chance(spread)) for _one in range(60)})
    counts = {rule: chance(12) for rule in PERIODS}
    assert set(kept(times, zone, **counts)) == as_restic_does(times, zone, counts)
