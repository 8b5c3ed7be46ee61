# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a retention lets go and what it keeps: nothing of others, nothing protected, nothing that was not asked for."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.retention import Retention, age, choose, retention
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import Snapshot, in_tree_order
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils.values import snapshot

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=timezone.utc)
NOTHING = {
    "keep_last": None,
    "older_than": None,
    "names": None,
    "protect": [],
    "include_foreign": False,
    "orphans": False,
    "detached": False,
    "exclusive_dirs": [],
    "bandwidth": 0,
}


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
    assert choice.kept == {"golden": "protected", "new": "among the newest 1"}
    assert choice.reasons == "1 protected, 1 among the newest 1"


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


@pytest.mark.parametrize(
    "text", ["", "7", "d", "-7d", "7 d", "7days", "1.5h", "7D", "7d\n", "1d12h", "\u0667d", "9" * 30 + "w"]
)
def test_what_is_no_age(text: str) -> None:
    with pytest.raises(KvmError) as caught:
        age(text)
    assert caught.value.error_code == "bad_request"
    assert "7d for days" in caught.value.full_message


@pytest.mark.parametrize(
    "wish",
    [{}, {"protect": ["a"]}, {"include_foreign": True}, {"keep_last": -1}, {"names": ["*"], "bandwidth": -1}],
)
def test_what_would_be_everything_or_makes_no_sense_is_refused(wish: dict[str, Any]) -> None:
    with pytest.raises(KvmError) as caught:
        retention({**NOTHING, **wish})
    assert caught.value.error_code == "bad_request"
    assert "Nothing was changed." in caught.value.full_message


@pytest.mark.parametrize(
    "wish", [{"keep_last": 0}, {"older_than": "1d"}, {"names": []}, {"orphans": True}, {"detached": True}]
)
def test_any_one_of_these_is_enough(wish: dict[str, Any]) -> None:
    assert retention({**NOTHING, **wish}).protect == ()
