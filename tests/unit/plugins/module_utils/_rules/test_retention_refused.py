# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A retention that would remove everything, or makes no sense, is refused."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.retention import age, retention
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils._rules.retained import NOTHING


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
    "text", ["", " ", '["gold"]', '["gold"', '"silver"]', "'gold'", "[gold", "release-*]", "[gold]", " [gold] "]
)
def test_what_protects_nothing_is_refused(text: str) -> None:
    """An empty variable, and a list that came as text: the pattern matches no snapshot, so the one that it means would go."""
    with pytest.raises(KvmError, match="which is no name") as caught:
        retention({**NOTHING, "keep_last": 1, "protect": ["other", text]})
    assert caught.value.error_code == "bad_request"
    assert retention({**NOTHING, "keep_last": 1, "protect": ["it's", "[ab]*", "a[0-9]", "[a-z]"]}).protect


@pytest.mark.parametrize(
    "wish",
    [
        {"keep_last": 1},
        {"keep_hourly": 1, "timezone": "UTC"},
        {"keep_yearly": 1, "timezone": "UTC"},
        {"older_than": "1d"},
        {"expired": True},
        {"names": []},
        {"labels": {"by": "me"}},
        {"orphans": True},
        {"detached": True},
    ],
)
def test_any_one_of_these_is_enough(wish: dict[str, Any]) -> None:
    assert retention({**NOTHING, **wish}).protect == ()


@pytest.mark.parametrize(
    ("wish", "says"),
    [
        ({"keep_last": 0}, "keep_last: 0 keeps no snapshot"),
        ({"keep_last": 0, "names": ["nightly-*"]}, "keep_last: 0 keeps no snapshot"),
        ({"keep_last": 0, "orphans": True}, "keep_last: 0 keeps no snapshot"),
        ({"keep_daily": 0, "keep_weekly": 0}, "keep_daily: 0 and keep_weekly: 0 together keep no snapshot"),
        ({"older_than": "0d"}, "older_than: 0d keeps no snapshot"),
        ({"keep_last": 0, "older_than": "0s"}, "keep_last: 0 and older_than: 0s together keep no snapshot"),
    ],
)
def test_rules_that_keep_nothing_are_refused_unless_that_is_meant(wish: dict[str, Any], says: str) -> None:
    with pytest.raises(KvmError) as caught:
        retention({**NOTHING, **wish})
    assert caught.value.error_code == "bad_request"
    assert says in caught.value.message
    assert "allow_keep_nothing: true" in caught.value.remedy
    assert retention({**NOTHING, **wish, "allow_keep_nothing": True}).keeps_nothing


@pytest.mark.parametrize(
    "wish",
    [
        {"keep_last": 0, "older_than": "1s"},
        {"keep_last": 0, "expired": True},
        {"keep_last": 1, "keep_daily": 0},
        {"keep_last": 0, "keep_daily": 1, "timezone": "UTC"},
        {"older_than": "0d", "keep_last": 1},
    ],
)
def test_one_rule_that_keeps_is_enough(wish: dict[str, Any]) -> None:
    assert not retention({**NOTHING, **wish}).keeps_nothing


@pytest.mark.parametrize(
    "option", [f"keep_{rule}" for rule in ("hourly", "daily", "weekly", "monthly", "yearly", "last")]
)
def test_a_negative_count_says_what_to_give_instead(option: str) -> None:
    with pytest.raises(KvmError) as caught:
        retention({**NOTHING, option: -1})
    assert "a large number" in caught.value.remedy
    assert caught.value.message == f"{option} is -1. It must be 0 or more."


def test_an_empty_filter_of_labels_is_no_filter() -> None:
    with pytest.raises(KvmError, match="labels is empty"):
        retention({**NOTHING, "labels": {}})
