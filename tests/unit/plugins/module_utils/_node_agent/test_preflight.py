# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is refused before anything on the host is changed, and what is not as wanted."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, Optional

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.errors import NotServing
from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.preflight import (
    differences,
    refuse_what_cannot_be_written,
    refuse_what_the_operator_forbids,
    wanted_text,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.service import MARK
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError

TEXT = f"{MARK}\n[Service]\n"


def host(tmp_path: Path, **values: Any) -> Any:
    """A host whose service runs the release ``sha`` as wanted; ``values`` are what differs from that."""
    given = {"file": tmp_path / "unit", "ours": True, "masked": False, "drop_in": None, "serves": True, **values}

    def prove(_sha: str, **_seconds: int) -> str:
        if not given["serves"]:
            raise NotServing("it does not answer")
        return "qx-node 1.0"

    service = SimpleNamespace(
        name="qx-node",
        manager="systemd",
        own_file=tmp_path / "unit",
        file=lambda: given["file"],
        is_ours=lambda: given["ours"],
        masked=lambda: given["masked"],
        overridden=lambda _program: given["drop_in"],
        text=lambda: TEXT,
        differs=lambda text: text not in (None, TEXT),
        enabled=lambda: given.get("enabled", True),
    )
    releases = SimpleNamespace(
        path=tmp_path / "qx-node",
        base=tmp_path / "base",
        current=lambda: given.get("current", "sha"),
        is_linked=lambda _sha: given.get("linked", True),
        stored=lambda _sha: given.get("stored", True),
    )
    params = {"service_file": "auto", "systemd_unit": TEXT, "openrc_script": TEXT, "size": 1, **given.get("params", {})}
    return SimpleNamespace(
        service=service,
        releases=releases,
        params=params,
        probe=SimpleNamespace(prove=prove),
        unfinished=lambda: given.get("unfinished"),
    )


def code(call: Any, *arguments: Any) -> str:
    with pytest.raises(KvmError) as refused:
        call(*arguments)
    return refused.value.error_code


def test_the_hosts_own_service_file_is_left_alone_unless_the_task_says_otherwise(tmp_path: Path) -> None:
    assert wanted_text(host(tmp_path)) == TEXT
    assert wanted_text(host(tmp_path, ours=False)) is None
    assert wanted_text(host(tmp_path, ours=False, params={"service_file": "always"})) == TEXT
    assert wanted_text(host(tmp_path, params={"service_file": "never"})) is None


def test_without_a_service_file_there_is_nothing_to_run(tmp_path: Path) -> None:
    assert code(wanted_text, host(tmp_path, file=None, params={"service_file": "never"})) == "no_service_file"


def test_a_text_without_the_mark_is_refused(tmp_path: Path) -> None:
    assert code(wanted_text, host(tmp_path, params={"systemd_unit": "[Service]\n"})) == "bad_request"


def test_what_the_operator_forbids_is_told(tmp_path: Path) -> None:
    refuse_what_the_operator_forbids(host(tmp_path))
    assert code(refuse_what_the_operator_forbids, host(tmp_path, masked=True)) == "masked"
    assert code(refuse_what_the_operator_forbids, host(tmp_path, drop_in="/etc/own.conf")) == "overridden"


def test_room_and_rights_are_looked_at_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_what_cannot_be_written(host(tmp_path), "sha", None)
    assert (
        code(refuse_what_cannot_be_written, host(tmp_path, stored=False, params={"size": 1 << 60}), "sha", None)
        == "no_space"
    )
    monkeypatch.setattr("os.access", lambda _path, _mode: False)
    assert code(refuse_what_cannot_be_written, host(tmp_path, stored=False), "sha", None) == "read_only"


@pytest.mark.parametrize(
    ("values", "found", "version"),
    [
        ({}, [], "qx-node 1.0"),
        ({"current": "other"}, ["release"], None),
        ({"linked": False}, ["link"], "qx-node 1.0"),
        ({"enabled": False}, ["not started at boot"], "qx-node 1.0"),
        ({"unfinished": "a change"}, ["an earlier run was interrupted"], "qx-node 1.0"),
        ({"serves": False}, ["does not serve: it does not answer"], None),
    ],
)
def test_each_difference_is_told_and_a_release_that_is_to_go_is_not_asked(
    tmp_path: Path, values: dict[str, Any], found: list[str], version: Optional[str]
) -> None:
    assert differences(host(tmp_path, **values), "sha", TEXT) == (found, version)


def test_another_service_file_is_a_difference(tmp_path: Path) -> None:
    assert differences(host(tmp_path), "sha", "another") == (["service file"], None)
