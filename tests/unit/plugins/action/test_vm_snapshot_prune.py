# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's time zone goes along with a task that needs one, and with no other."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, Optional

import pytest
from ansible.errors import AnsibleActionFail

from ansible_collections.limiquantix.kvm.plugins.action.vm_snapshot_prune import ActionModule, local_zone, with_zone

TZ = {"TZ": "Europe/Berlin"}


@pytest.mark.parametrize(
    ("arguments", "zone"),
    [
        ({"keep_daily": 7}, "Europe/Berlin"),
        ({"keep_yearly": "1", "keep_last": 3}, "Europe/Berlin"),
        ({"keep_hourly": 7, "timezone": None}, "Europe/Berlin"),
        ({"keep_daily": 7, "timezone": "UTC"}, "UTC"),
        ({"keep_daily": 7, "timezone": ""}, ""),  # an empty variable: the module refuses it
        ({"keep_last": 3}, None),
        ({"keep_daily": None, "older_than": "1d"}, None),
        ({}, None),
    ],
)
def test_it_is_added_where_a_rule_needs_it_and_none_is_given(arguments: dict[str, Any], zone: Optional[str]) -> None:
    given = dict(arguments)
    assert with_zone(arguments, TZ) == {**arguments, **({} if zone is None else {"timezone": zone})}
    assert arguments == given


@pytest.mark.parametrize(
    ("given", "zone"),
    [
        ("Europe/Berlin", "Europe/Berlin"),
        (":Asia/Tokyo", "Asia/Tokyo"),
        ("/usr/share/zoneinfo/America/New_York", "America/New_York"),
        ("", "UTC"),
        ("CET-1CEST", "CET-1CEST"),  # no name of a zone: the module refuses it by that name
    ],
)
def test_what_the_environment_says_comes_first(tmp_path: Path, given: str, zone: str) -> None:
    (tmp_path / "localtime").symlink_to("/usr/share/zoneinfo/Asia/Tokyo")
    assert local_zone({"TZ": given}, str(tmp_path / "localtime")) == zone


@pytest.mark.parametrize(
    ("target", "zone"),
    [
        ("/usr/share/zoneinfo/Europe/Berlin", "Europe/Berlin"),
        ("../usr/share/zoneinfo/Etc/UTC", "Etc/UTC"),
        ("/var/db/timezone/zoneinfo/Europe/Berlin", "Europe/Berlin"),
        ("/srv/elsewhere", None),
    ],
)
def test_then_what_localtime_links_to(tmp_path: Path, target: str, zone: Optional[str]) -> None:
    (tmp_path / "localtime").symlink_to(target)
    assert local_zone({}, str(tmp_path / "localtime"), str(tmp_path / "none")) == zone


def test_a_copy_has_the_name_that_is_noted_beside_it_or_none(tmp_path: Path) -> None:
    (tmp_path / "localtime").write_bytes(b"TZif2")
    files = (str(tmp_path / "localtime"), str(tmp_path / "timezone"))
    assert local_zone({}, *files) is None
    (tmp_path / "timezone").write_text("Europe/Berlin\n")
    assert local_zone({}, *files) == "Europe/Berlin"


def test_a_machine_that_says_nothing_is_on_utc(tmp_path: Path) -> None:
    assert local_zone({}, str(tmp_path / "none"), str(tmp_path / "none")) == "UTC"


@pytest.mark.parametrize("arguments", [{"names": ["nightly-*"], "keep_last": None}, {"keep_last": 3, "labels": None}])
def test_a_rule_that_an_empty_variable_has_left_without_a_value_is_refused(arguments: dict[str, Any]) -> None:
    action = ActionModule.__new__(ActionModule)
    action._task = SimpleNamespace(args=arguments)
    with pytest.raises(AnsibleActionFail, match="has no value"):
        action.run()
