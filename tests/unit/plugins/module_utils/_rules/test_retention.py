# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which snapshots a retention removes: those that everything given agrees on."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.retention import Retention, age, choose, retention
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import Snapshot, in_tree_order
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.storage import Leftover
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils._rules.retained import NOTHING
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils.values import snapshot

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=timezone.utc)


def taken(name: str, days: float | None, parent: str | None = None, **values: Any) -> Snapshot:
    created_at = None if days is None else (NOW - timedelta(days=days)).isoformat()
    return snapshot(name, parent, **{"created_at": created_at, "owned": True, **values})


# A chain of four days, and a branch of its second day.
TREE = in_tree_order(
    (
        taken("day4", 4),
        taken("day3", 3, "day4"),
        taken("branch", 2.5, "day3"),
        taken("day2", 2, "day3"),
        taken("day1", 1, "day2"),
    )
)


def gone(snapshots: tuple[Snapshot, ...] = TREE, **wish: Any) -> list[str]:
    return [one.name for one in choose(snapshots, Retention(**wish), NOW).removed]


def test_leaf_first_siblings_too() -> None:
    assert gone(keep_last=0) == ["day1", "day2", "branch", "day3", "day4"]
    assert gone(keep_last=1) == ["day2", "branch", "day3", "day4"]


@pytest.mark.parametrize(
    ("wish", "removed"),
    [
        ({"keep_last": 2}, {"day4", "day3", "branch"}),
        ({"keep_last": 4}, {"day4"}),
        ({"keep_last": 5}, set()),
        ({"keep_last": 99}, set()),
        ({"older_than": timedelta(days=2, hours=6)}, {"day4", "day3", "branch"}),
        ({"older_than": timedelta(days=4)}, set()),  # exactly four days old is not older
        ({"older_than": timedelta(days=2, hours=6), "keep_last": 4}, {"day4"}),
        ({"older_than": timedelta(days=3, hours=6), "keep_last": 0}, {"day4"}),
        ({"names": ("day*",), "keep_last": 2}, {"day4", "day3"}),
        ({"names": ("day[12]", "branch")}, {"day1", "day2", "branch"}),
        ({"names": ()}, set()),
        ({"names": ("nobody",)}, set()),
        # What is protected takes no place among the newest.
        ({"keep_last": 2, "protect": ("day1",)}, {"day4", "day3"}),
        ({"keep_last": 0, "protect": ("d*4", "branch")}, {"day3", "day2", "day1"}),
        ({"orphans": True}, set()),
        ({"orphans": True, "keep_last": 4}, {"day4"}),
    ],
)
def test_all_that_is_given_must_agree(wish: dict[str, Any], removed: set[str]) -> None:
    assert set(gone(**wish)) == removed


def test_others_and_protected_ones_stay() -> None:
    snapshots = (taken("old", 9), taken("theirs", 8, owned=False), taken("golden", 7, protected=True), taken("new", 1))
    assert gone(snapshots, keep_last=1) == ["old"]
    assert gone(snapshots, keep_last=1, include_foreign=True) == ["theirs", "old"]
    assert gone(snapshots, names=("*",), include_foreign=True) == ["new", "theirs", "old"]
    choice = choose(snapshots, Retention(keep_last=1), NOW)
    assert choice.told == {"golden": ["protected"], "new": ["among the newest 1"]}
    assert choice.reasons == "1 protected, 1 among the newest 1"


def test_a_group_that_nobody_has_confirmed_stays() -> None:
    cut = {"group": "g1", "group_members": "a,b"}
    pending = taken("cut", 9, labels={**cut, "group_pending": "boot 17.000"})
    snapshots = (pending, taken("confirmed", 8, labels=cut), taken("new", 1))
    for wish in ({"keep_last": 1}, {"keep_last": 1, "labels": {"group": "g1"}}, {"names": ("cut", "confirmed")}):
        choice = choose(snapshots, Retention(**wish), NOW)
        assert "cut" not in [one.name for one in choice.removed]
        assert choice.told["cut"] == ["of a group that is not confirmed yet"]
    assert gone(snapshots, keep_last=0) == ["new", "confirmed"]


def test_an_unknown_age_is_never_old_and_never_new() -> None:
    snapshots = (taken("lost", None), taken("odd", None, created_at="yesterday"), taken("old", 9), taken("new", 1))
    assert gone(snapshots, older_than=timedelta(0)) == ["new", "old"]
    assert gone(snapshots, keep_last=1) == ["old"]
    assert choose(snapshots, Retention(keep_last=1), NOW).reasons == "2 of unknown age, 1 among the newest 1"
    # Where age does not matter, it is not asked for.
    assert gone(snapshots, keep_last=0) == ["new", "old", "odd", "lost"]
    assert gone(snapshots, names=("lost",)) == ["lost"]


def test_of_the_same_second_the_child_is_newer() -> None:
    snapshots = (taken("b", 1), taken("a", 1, "b"))
    assert gone(snapshots, keep_last=1) == ["b"]


def test_times_of_other_zones() -> None:
    snapshots = (
        taken("noon", 0, created_at="2026-11-23T11:00:00+00:00"),
        taken("later", 0, created_at="2026-11-23T10:30:00-01:00"),
        taken("no zone is UTC", 0, created_at="2026-11-23T11:15:00"),
    )
    assert gone(snapshots, keep_last=1) == ["no zone is UTC", "noon"]
    assert gone(snapshots, older_than=timedelta(minutes=50)) == ["noon"]


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("90s", timedelta(seconds=90)),
        ("30m", timedelta(minutes=30)),
        ("12h", timedelta(hours=12)),
        ("7d", timedelta(days=7)),
        ("2w", timedelta(days=14)),
        ("0d", timedelta(0)),
    ],
)
def test_an_age_is_read_with_its_unit(text: str, time: timedelta) -> None:
    assert age(text) == time


def test_a_zone_is_asked_for_only_where_a_rule_needs_one() -> None:
    assert retention({**NOTHING, "keep_last": 1, "keep_daily": 0}).zone is timezone.utc
    with pytest.raises(KvmError, match="time zone of the controller is not known"):
        retention({**NOTHING, "keep_daily": 1})
    with pytest.raises(KvmError, match="'Europe/Berlim'"):  # a slip is told also where nothing needs it
        retention({**NOTHING, "keep_last": 1, "timezone": "Europe/Berlim"})


def test_labels_choose_what_may_go() -> None:
    snapshots = (
        taken("a", 3, labels={"by": "me"}),
        taken("b", 2, labels={"by": "me", "change": "1"}),
        taken("c", 1, labels={"by": "you"}),
    )
    assert gone(snapshots, labels={"by": "me"}) == ["b", "a"]
    assert gone(snapshots, labels={"by": "me"}, keep_last=1) == ["a"]
    assert gone(snapshots, labels={"by": "me", "change": "2"}) == []
    assert choose(snapshots, Retention(labels={"by": "me"}, keep_last=1), NOW).told == {"b": ["among the newest 1"]}


def test_only_what_has_expired_goes_and_all_else_must_agree() -> None:
    over, later = (NOW - timedelta(hours=1)).isoformat(), (NOW + timedelta(hours=1)).isoformat()
    snapshots = (
        taken("old", 9, expires=over),
        taken("lost", None, expires=over),
        taken("golden", 8, expires=over, protected=True),
        taken("odd", 7, expires="soon"),
        taken("ever", 6),
        taken("late", 5, expires=later),
        taken("new", 1, expires=over),
    )
    choice = choose(snapshots, Retention(expired=True), NOW)
    assert [one.name for one in choice.removed] == ["new", "lost", "old"]  # how old it is does not matter then
    assert choice.told == {
        "golden": ["protected"],
        "odd": ["not expired"],
        "ever": ["not expired"],
        "late": ["not expired"],
    }
    assert gone(snapshots, expired=True, older_than=timedelta(days=2)) == ["old"]
    assert gone(snapshots, expired=True, keep_daily=1) == ["old"]
    # Without a word of it an expiry keeps nothing and lets nothing go.
    assert "late" in gone(snapshots, older_than=timedelta(days=4))
    assert "new" not in gone(snapshots, older_than=timedelta(days=4))


def test_what_is_from_the_future_stays_and_takes_no_place() -> None:
    """A clock that was wrong for an hour must not be what all that is right goes for."""
    snapshots = (taken("b", 2), taken("a", 1), taken("wrong", -3650))
    assert gone(snapshots, keep_last=1) == ["b"]
    assert gone(snapshots, keep_daily=1) == ["b"]
    assert gone(snapshots, older_than=timedelta(days=1, hours=1)) == ["b"]
    assert choose(snapshots, Retention(keep_daily=1), NOW).told == {
        "a": ["daily 2026-11-22"],
        "wrong": ["from the future"],
    }
    assert gone(snapshots, names=("wrong",)) == ["wrong"]  # by its name it goes
    assert gone((taken("this second", 0),), keep_last=1) == []


def test_what_was_taken_while_the_clock_was_behind_stays_and_takes_no_place() -> None:
    """It is a child of s3, so it is newer, whatever its time says."""
    snapshots = in_tree_order((taken("s2", 2), taken("s3", 1, "s2"), taken("s4", 600, "s3")))
    choice = choose(snapshots, Retention(keep_last=1, older_than=timedelta(0)), NOW)
    assert [one.name for one in choice.removed] == ["s2"]
    assert choice.told["s4"] == ["older than its parent"]


def test_white_space_around_a_name_is_none_of_it() -> None:
    assert gone(names=("day1", " day2 "), protect=(" day1",)) == ["day2"]


def test_rules_are_counted_once_for_each_snapshot() -> None:
    snapshots = tuple(taken(f"day{days}", days) for days in range(9, 0, -1))
    choice = choose(snapshots, Retention(keep_daily=3, keep_weekly=2, keep_last=1), NOW)
    assert choice.told == {
        "day8": ["weekly 2026-W46"],
        "day3": ["daily 2026-11-20"],
        "day2": ["daily 2026-11-21"],
        "day1": ["among the newest 1", "daily 2026-11-22", "weekly 2026-W47"],
    }
    assert choice.reasons == "1 weekly, 2 daily, 1 among the newest 1 and daily and weekly"


@pytest.mark.parametrize(
    ("wish", "why", "shared", "goes"),
    [
        ({"detached": True}, "detached", False, True),
        ({"detached": True}, "detached", True, False),
        ({"detached": True, "exclusive_dirs": ("/nfs",)}, "detached", True, True),
        ({"exclusive_dirs": ("/nfs",)}, "detached", True, False),
        ({"exclusive_dirs": ("/nfs",)}, "shared", True, True),
        ({"exclusive_dirs": ("/nf",)}, "shared", True, False),
        ({"detached": True}, "shared", True, False),
    ],
)
def test_what_other_hosts_may_use_goes_only_where_the_task_says_that_none_does(
    wish: dict[str, Any], why: str, shared: bool, goes: bool
) -> None:
    assert Retention(**wish).gives_up(Leftover("/nfs/web.vdb.s1.qcow2", why, "", shared=shared)) is goes
