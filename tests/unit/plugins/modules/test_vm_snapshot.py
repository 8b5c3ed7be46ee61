# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module itself, from its arguments to its JSON, on the mock."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils.values import IMPORT_PATH, machine, state_file

RUN = f"""
import json, sys
sys.path[:0] = {IMPORT_PATH!r}
from ansible.module_utils import basic
basic._ANSIBLE_ARGS, basic._ANSIBLE_PROFILE = sys.argv[1].encode(), "legacy"
from ansible_collections.limiquantix.kvm.plugins.modules.vm_snapshot import main
main()
"""


def run(path: str, check: bool = False, **arguments: Any) -> dict[str, Any]:
    return run_with({"backend": "mock", "mock_path": path, "_ansible_check_mode": check, **arguments})


def run_with(wish: dict[str, Any]) -> dict[str, Any]:
    command = [sys.executable, "-c", RUN, json.dumps({"ANSIBLE_MODULE_ARGS": wish})]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.stdout.strip(), done.stderr
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    assert done.returncode == int(result.get("failed", False))
    return result


def test_check_do_check_again_do_again(tmp_path: Path) -> None:
    path = state_file(tmp_path, machine("web01"), machine("web02", cpu={"invtsc": True}))
    results = [run(path, check, vm="web*", name="s") for check in (True, False, True, False)]
    assert [result["changed"] for result in results] == [True, True, False, False]
    assert {result["disk_only"] for result in results} == {True}
    assert results[0]["diff"] == results[1]["diff"]
    assert results[1]["msg"] == "snapshot 's' (disk-only) of 2 VMs: 2 taken"
    keys = [set(result) - {"invocation"} for result in results]
    assert keys[0] == keys[1] == keys[2] == keys[3]


@pytest.mark.parametrize(
    ("wish", "msg"),
    [
        ({"name": "s", "state": "reverted", "power": "shutoff"}, "revert to snapshot 's' of 2 VMs: 2 reverted"),
        (
            {"name": "s", "state": "absent", "children": True},
            "removal of snapshot 's' and those based on it of 2 VMs: 2 removed",
        ),
        ({"state": "absent", "all_snapshots": True}, "removal of all snapshots of 2 VMs: 2 removed"),
    ],
)
def test_revert_and_remove(tmp_path: Path, wish: dict[str, Any], msg: str) -> None:
    path = state_file(tmp_path, machine("web01"), machine("web02"))
    assert run(path, vms=["*"], name="s")["changed"]
    results = [run(path, check, vms=["*"], **wish) for check in (True, False, True, False)]
    assert [result["changed"] for result in results] == [True, True, False, False]
    assert results[0]["diff"] == results[1]["diff"]
    assert (results[1]["msg"], results[1]["disk_only"]) == (msg, None)
    keys = [set(result["vms"][0]) for result in results]
    assert keys[0] == keys[1] == keys[2] == keys[3]


def test_one_vm_fails_and_all_are_told(tmp_path: Path) -> None:
    path = state_file(tmp_path, machine("web01"), machine("web02", cpu={"invtsc": True}))
    result = run(path, vms=["*"], name="s", include_memory=True)
    assert (result["failed"], result["changed"], result["error_code"]) == (True, True, "memory_blocked")
    assert [(vm["vm"], vm["changed"], vm["failed"]) for vm in result["vms"]] == [
        ("web01", True, False),
        ("web02", False, True),
    ]


@pytest.mark.parametrize(
    ("arguments", "error_code"),
    [
        ({"name": "s", "state": "absent", "all_snapshots": True}, "bad_request"),
        ({"name": "s", "state": "absent", "bandwidth": -1}, "bad_request"),
        ({"state": "absent"}, "bad_name"),
        ({"state": "reverted"}, "bad_name"),
        ({"name": "s", "state": "reverted", "children": True}, "bad_request"),
        ({"name": "s", "all_snapshots": True}, "bad_request"),
        ({"name": "s", "include_memory": True, "quiesce": "required"}, "bad_request"),
        ({"name": "s", "timeout": -1}, "bad_request"),
        ({"name": "s", "quiesce_timeout": 0}, "bad_request"),
        ({"name": "s", "parallel": 0}, "bad_request"),
        ({"name": "a/b"}, "bad_name"),
        ({}, "bad_name"),
        ({"name": "s", "vms": ["nobody"]}, "vm_not_found"),
    ],
)
def test_refused_as_a_whole(tmp_path: Path, arguments: dict[str, Any], error_code: str) -> None:
    path = state_file(tmp_path, machine("web01"))
    before = Path(path).read_text()
    result = run(path, **{"vms": ["*"], **arguments})
    assert (result["failed"], result["error_code"]) == (True, error_code)
    assert (result["changed"], result["vms"], result["diff"]) == (False, [], [])
    assert Path(path).read_text() == before


@pytest.mark.parametrize("without", [{}, {"mock_path": None}, {"mock_path": ""}])
def test_the_mock_wants_its_path(without: dict[str, Any]) -> None:
    result = run_with({"backend": "mock", "vms": ["*"], "name": "s", **without})
    assert result["failed"]
    assert "mock_path" in result["msg"]
