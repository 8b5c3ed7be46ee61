# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module itself, from its arguments to its JSON, on the mock."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.mock.hypervisor import MockHypervisor
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.retention import Retention
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.outcome import VmOutcome
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.prune import Prune, result
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.run import Limits
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.run import run as run_task
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.plan import RemovalPlan
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils.values import IMPORT_PATH, machine, state_file

RUN = f"""
import json, sys
sys.path[:0] = {IMPORT_PATH!r}
from ansible.module_utils import basic
basic._ANSIBLE_ARGS, basic._ANSIBLE_PROFILE = sys.argv[1].encode(), "legacy"
from ansible_collections.limiquantix.kvm.plugins.modules.vm_snapshot_prune import main
main()
"""


def run(path: str, check: bool = False, **arguments: Any) -> dict[str, Any]:
    wish = {"backend": "mock", "mock_path": path, "_ansible_check_mode": check, "vms": ["*"], **arguments}
    command = [sys.executable, "-c", RUN, json.dumps({"ANSIBLE_MODULE_ARGS": wish})]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.stdout.strip(), done.stderr
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    assert done.returncode == int(result.get("failed", False))
    return result


def days_ago(days: float) -> str:
    return (datetime.now(timezone.utc) - timedelta(days=days)).replace(microsecond=0).isoformat()


def chained(name: str, *snapshots: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a VM whose snapshots are based on one another, each a day younger, and its files."""
    entries: list[dict[str, Any]] = []
    top = f"/vm/{name}.qcow2"
    files: dict[str, Any] = {top: {"format": "qcow2", "size": 1 << 30, "virtual_size": 20 << 30}}
    for number, values in enumerate(snapshots):
        overlay = f"/vm/{name}.{values['name']}.qcow2"
        disk = {"target": "vda", "file": overlay, "format": "qcow2", "base": top}
        entries.append(
            {
                "parent": entries[-1]["name"] if entries else None,
                "created_at": days_ago(len(snapshots) - number),
                "owned": True,
                "disks": [disk],
                **values,
            }
        )
        files[overlay] = {"format": "qcow2", "size": 1 << 20, "virtual_size": 20 << 30, "backing_file": top}
        top = overlay
    current = entries[-1]["name"] if entries else None
    disks = [{"target": "vda", "source": top}]
    return machine(name, disks=disks, snapshots=entries, current=current), files


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A VM with five snapshots, one of others and one protected, one VM with none, and an overlay nobody knows."""
    vm, files = chained(
        "web01",
        {"name": "day5"},
        {"name": "day4", "owned": False},
        {"name": "day3", "protected": True},
        {"name": "day2"},
        {"name": "day1"},
    )
    files["/vm/web01.lost.qcow2"] = {"format": "qcow2", "backing_file": "/vm/web01.day2.qcow2"}
    return state_file(tmp_path, vm, machine("web02"), files=files)


def names(path: str, vm: int = 0) -> list[str]:
    return [one["name"] for one in json.loads(Path(path).read_text())["vms"][vm]["snapshots"]]


def test_check_do_check_again_do_again(path: str) -> None:
    results = [run(path, check, keep_last=1) for check in (True, False, True, False)]
    assert [one["changed"] for one in results] == [True, True, False, False]
    assert results[0]["diff"] == results[1]["diff"] != []
    assert [one["diff"] for one in results[2:]] == [[], []]
    assert results[1]["msg"] == "pruning of 2 VMs: 1 pruned, 1 unchanged"
    web01, web02 = results[1]["vms"]
    assert (web01["removed"], web01["kept"]) == (["day2", "day5"], ["day3", "day1"])
    assert web01["msg"].endswith("removed. Kept: 1 protected, 1 among the newest 1")
    assert (web02["changed"], web02["msg"]) == (False, "nothing to prune: it has no snapshots")
    assert sorted(names(path)) == ["day1", "day3", "day4"]
    assert results[3]["vms"][0]["msg"] == "nothing to prune. Kept: 1 protected, 1 among the newest 1"
    for one in results[1:]:
        assert set(one) == set(results[0])
        assert {key for vm in one["vms"] for key in vm} == set(results[0]["vms"][0])


def test_check_mode_writes_nothing(path: str) -> None:
    before = Path(path).read_text()
    told = run(path, True, names=["*"], include_foreign=True, orphans=True)
    assert told["vms"][0]["removed"] == ["day1", "day2", "day4", "day5"]
    assert told["vms"][0]["orphans_removed"] == ["/vm/web01.lost.qcow2"]
    assert Path(path).read_text() == before


def test_orphans_alone_are_no_snapshots(path: str) -> None:
    told, done, again = run(path, True, orphans=True), run(path, orphans=True), run(path, orphans=True)
    assert [one["changed"] for one in (told, done, again)] == [True, True, False]
    assert told["diff"] == done["diff"]
    assert "orphan: /vm/web01.lost.qcow2\n" in done["diff"][0]["before"]
    assert done["vms"][0]["orphans_removed"] == ["/vm/web01.lost.qcow2"]
    assert done["vms"][0]["msg"] == "1 orphan deleted"
    assert again["vms"][0]["msg"] == "nothing to prune: no orphans"
    assert len(names(path)) == 5
    assert "/vm/web01.lost.qcow2" not in json.loads(Path(path).read_text())["files"]


@pytest.mark.parametrize(
    ("wish", "removed"),
    [
        ({"older_than": timedelta(hours=60)}, ("day5",)),
        ({"older_than": timedelta(hours=60), "include_foreign": True}, ("day4", "day5")),
        ({"older_than": timedelta(hours=36), "protect": ("*5",)}, ("day2",)),
        ({"older_than": timedelta(hours=36), "keep_last": 2}, ("day5",)),
        ({"names": ("day[12]",)}, ("day1", "day2")),
        ({"older_than": timedelta(days=14)}, ()),
    ],
)
def test_retention_removes_what_it_says(path: str, wish: dict[str, Any], removed: tuple[str, ...]) -> None:
    assert prune(path, Retention(**wish))[0].removed == removed
    assert sorted(names(path)) == sorted({"day1", "day2", "day3", "day4", "day5"} - set(removed))


@pytest.mark.parametrize(
    ("wish", "error_code"),
    [
        ({}, "bad_request"),
        ({"older_than": "7"}, "bad_request"),
        ({"keep_last": 1, "bandwidth": -1}, "bad_request"),
        ({"keep_last": 1, "timeout": 0}, "bad_request"),
        ({"keep_last": 1, "vms": ["nobody"]}, "vm_not_found"),
    ],
)
def test_refused_as_a_whole(path: str, wish: dict[str, Any], error_code: str) -> None:
    before = Path(path).read_text()
    done = run(path, **wish)
    assert (done["failed"], done["error_code"], done["changed"]) == (True, error_code, False)
    assert (done["vms"], done["diff"]) == ([], [])
    assert Path(path).read_text() == before


def prune(path: str, wish: Retention, patterns: Sequence[str] = ("*",)) -> list[VmOutcome]:
    action = Prune(wish, datetime.now(timezone.utc))
    return run_task(MockHypervisor(path), patterns, action, Limits(), check_mode=False)


def test_a_failure_on_the_way_tells_what_went_and_what_is_still_there(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = MockHypervisor.remove

    def fail_at_last(self: MockHypervisor, plan: RemovalPlan, *arguments: Any) -> tuple[str, ...]:
        if plan.snapshots[0].name == "day5":
            raise KvmError("merge_failed", "It could not be merged.", "See why.")
        return real(self, plan, *arguments)

    monkeypatch.setattr(MockHypervisor, "remove", fail_at_last)
    outcomes = prune(path, Retention(keep_last=0, orphans=True))
    entry = result(outcomes, check_mode=False)["vms"][0]
    assert (entry["changed"], entry["error_code"]) == (True, "merge_failed")
    assert entry["removed"] == ["day1", "day2"]
    assert entry["kept"] == ["day5", "day3"]
    assert entry["orphans_removed"] == ["/vm/web01.lost.qcow2"]
    assert "See why. Removed before that: day1, day2. Still there: day5." in entry["msg"]
    assert sorted(names(path)) == ["day3", "day4", "day5"]
    assert not outcomes[1].error


def test_snapshots_of_others_only(tmp_path: Path) -> None:
    vm, files = chained("web01", {"name": "theirs", "owned": False})
    path = state_file(tmp_path, vm, files=files)
    (outcome,) = prune(path, Retention(keep_last=0))
    assert "this collection took none of its snapshots" in outcome.msg
    (outcome,) = prune(path, Retention(names=("nothing",), include_foreign=True))
    assert outcome.msg == "nothing to prune: no snapshot matches names"
