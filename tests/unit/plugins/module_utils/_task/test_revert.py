# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""State reverted: what is refused, foretold, kept and told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.mock.hypervisor import MockHypervisor
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.outcome import VmOutcome
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.revert import Reverted
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.plan import Recovery
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.request import RevertRequest
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils.values import (
    codes,
    do,
    machine,
    state_file,
    take,
)


def revert(path: str, name: str = "s1", check_mode: bool = False, **wish: Any) -> VmOutcome:
    (outcome,) = do(path, Reverted(RevertRequest(name, **wish)), check_mode)
    return outcome


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A running VM with the snapshots s1 and s2 in a row."""
    path = state_file(tmp_path, machine("a"))
    for name in ("s1", "s2"):
        assert take(path, name).changed
    return path


def native(path: str) -> dict[str, Any]:
    state = json.loads(Path(path).read_text())
    vm: dict[str, Any] = state["vms"][0]
    return vm


def test_to_the_current_snapshot_is_a_change_though_the_tree_is_the_same(path: str) -> None:
    for _time in range(2):
        (overlay,) = [disk["source"] for disk in native(path)["disks"]]
        outcome = revert(path, "s2")
        assert (outcome.changed, outcome.before, outcome.files_removed) == (True, outcome.before, (overlay,))
        assert outcome.after_text.endswith("reverted to: s2\n")
        assert outcome.before_text.endswith(f"file: {overlay}\n")


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("name", ["s1", "s2"])
def test_a_check_foretells(path: str, name: str, keep: bool) -> None:
    before = Path(path).read_text()
    said = revert(path, name, check_mode=True, keep_current=keep)
    assert Path(path).read_text() == before
    assert "would be reverted" in said.msg
    was = revert(path, name, keep_current=keep)
    assert (said.before_text, said.after_text) == (was.before_text, was.after_text)
    assert (said.files_removed, said.notes, said.power) == (was.files_removed, was.notes, was.power)
    assert was.snapshot is not None
    assert (was.snapshot.name, was.snapshot.current) == (name, True)


def test_what_is_kept_has_a_name_of_its_own(path: str) -> None:
    for kept in ("before-s1", "before-s1-2", "before-s1-3"):
        outcome = revert(path, keep_current=True)
        assert outcome.files_removed == ()
        assert f"kept as {kept!r}" in outcome.msg
        (found,) = [one for one in outcome.after if one.name == kept]
        assert found.description == "what the VM had before a revert to s1"
        assert found.owned


def test_what_is_kept_is_named_too_long(path: str) -> None:
    long = "x" * 244
    assert take(path, long[:200]).changed
    assert codes([revert(path, long[:200], keep_current=True)]) == [""]
    (error,) = codes([revert(path, long, keep_current=True)])
    assert error == "snapshot_not_found"
    state = json.loads(Path(path).read_text())
    state["vms"][0]["snapshots"].append({"name": long})
    Path(path).write_text(json.dumps(state))
    assert codes([revert(path, long, keep_current=True)]) == ["bad_name"]


def test_what_cannot_be_kept_is_not_reverted(path: str) -> None:
    state = json.loads(Path(path).read_text())
    state["directories"] = {"/vm": {"total": 1 << 30, "free": 1 << 20}}
    Path(path).write_text(json.dumps(state))
    before = Path(path).read_text()
    for check_mode in (True, False):
        assert codes([revert(path, keep_current=True, check_mode=check_mode)]) == ["no_space"]
    assert codes([revert(path, keep_current=True, quiesce="required")]) == ["agent_unavailable"]
    assert Path(path).read_text() == before


def test_a_revert_that_fails_after_the_present_was_kept(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: Any) -> Any:
        raise KvmError("start_failed", "it does not start")

    monkeypatch.setattr(MockHypervisor, "revert", fail)
    outcome = revert(path, keep_current=True)
    assert (codes([outcome]), outcome.changed) == (["start_failed"], True)
    assert [one.name for one in outcome.after] == ["s1", "s2", "before-s1"]


@pytest.mark.parametrize("check_mode", [True, False])
def test_an_unknown_name(path: str, check_mode: bool) -> None:
    before = Path(path).read_text()
    outcome = revert(path, "s3", check_mode)
    assert (codes([outcome]), outcome.changed) == (["snapshot_not_found"], False)
    assert "Give one of its snapshots: s1, s2." in outcome.msg
    assert Path(path).read_text() == before


@pytest.mark.parametrize("name", ["", "a/b"])
def test_a_name_no_snapshot_can_have(name: str) -> None:
    with pytest.raises(KvmError) as caught:
        Reverted(RevertRequest(name))
    assert caught.value.error_code == "bad_name"


def test_nothing_was_written_since(tmp_path: Path) -> None:
    path = state_file(tmp_path, machine("a", state="shutoff"))
    assert take(path, "s1").changed
    for check_mode in (True, False):
        outcome = revert(path, check_mode=check_mode, keep_current=True)
        assert (outcome.changed, outcome.msg) == (False, "nothing was written since snapshot 's1'")
    assert revert(path, power="running").changed
    assert native(path)["state"] == "running"


@pytest.mark.parametrize(
    ("operation", "power", "more"),
    [
        (("revert", "s1"), "restore", False),
        (("revert", "s1"), "running", False),
        (("revert", "s1"), "shutoff", True),
        (("revert", "s2"), "restore", True),
        (("remove", "s1"), "restore", True),
    ],
)
def test_a_revert_that_is_finished_is_not_done_again(
    path: str, monkeypatch: pytest.MonkeyPatch, operation: tuple[str, str], power: str, more: bool
) -> None:
    state = json.loads(Path(path).read_text())
    state["vms"][0]["operation"] = {"kind": operation[0], "snapshot": operation[1], "started_at": "x"}
    Path(path).write_text(json.dumps(state))
    monkeypatch.setattr(MockHypervisor, "recover", lambda *_arguments: Recovery("Finished it."))
    outcome = revert(path, power=power)
    assert (outcome.changed, outcome.recovered, codes([outcome])) == (True, "Finished it.", [""])
    assert ("Then: reverted to" in outcome.msg) is more
