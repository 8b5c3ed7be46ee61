# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The order of things in a task: refuse first, decide again under the lock, tell the worst news."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.mock.hypervisor import MockHypervisor
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.outcome import VmOutcome, Wording, outcome
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.run import Limits
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.run import run as run_task
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.take import Present
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.request import SnapshotRequest
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils.values import codes, do, machine, state_file


def run(path: str, name: str = "s", check_mode: bool = False, **wish: Any) -> list[VmOutcome]:
    return do(path, Present(SnapshotRequest(name, **wish)), check_mode)


def test_no_room_for_all_is_room_for_none(tmp_path: Path) -> None:
    directory = {"total": 10 << 20, "free": (3 << 20) + (1 << 19)}
    path = state_file(tmp_path, *(machine(f"vm{number}") for number in range(4)), directories={"/vm": directory})
    assert codes(run(path)) == ["no_space"] * 4
    assert not any(one.changed for one in run(path))
    (outcome,) = run_task(MockHypervisor(path), ["vm1"], Present(SnapshotRequest("s")), Limits(), False)
    assert outcome.changed


def test_one_that_is_refused_leaves_the_others(tmp_path: Path) -> None:
    path = state_file(tmp_path, machine("a", persistent=False), machine("b"), machine("c", state="pmsuspended"))
    for check_mode in (True, False):
        outcomes = run(path, check_mode=check_mode)
        assert codes(outcomes) == ["transient_domain", "", "bad_state"]
        assert [one.changed for one in outcomes] == [False, True, False]


def test_what_another_run_took_meanwhile_is_there_already(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = state_file(tmp_path, machine("a"))
    original = MockHypervisor.lock

    def taken_by_another(self: MockHypervisor, *arguments: Any) -> Any:
        monkeypatch.setattr(MockHypervisor, "lock", original)
        assert run(path)[0].changed
        return original(self, *arguments)

    monkeypatch.setattr(MockHypervisor, "lock", taken_by_another)
    (outcome,) = run(path)
    assert (outcome.changed, outcome.error, outcome.msg) == (False, None, "snapshot 's' already exists")


def test_half_of_what_another_run_does_is_no_reason_to_refuse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = state_file(tmp_path, machine("a"))
    original = MockHypervisor.plan_take

    def seen_by_half(*_arguments: Any) -> Any:
        monkeypatch.setattr(MockHypervisor, "plan_take", original)
        assert run(path)[0].changed
        raise KvmError("chain_mismatch", "libvirt and the files say different things.")

    for check_mode, msg in ((False, "snapshot 's' already exists"), (True, "another run has just changed it")):
        monkeypatch.setattr(MockHypervisor, "plan_take", seen_by_half)
        (outcome,) = run(path, check_mode=check_mode)
        assert (outcome.changed, outcome.error) == (False, None)
        assert outcome.msg.startswith(msg)
        path = state_file(tmp_path, machine("a"))


def test_a_freeze_that_was_lost_is_an_error_and_a_change(tmp_path: Path) -> None:
    path = state_file(tmp_path, machine("a", agent="thaws_early"))
    (outcome,) = run(path, quiesce="required")
    assert (codes([outcome]), outcome.changed) == (["quiesce_lost"], True)
    assert outcome.snapshot is not None
    assert outcome.snapshot.quiesced is False


def test_what_failed_is_told_also_where_nothing_can_be_read_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = state_file(tmp_path, machine("a"))
    assert run(path, "before")[0].changed

    def gone(*_arguments: Any) -> Any:
        raise KvmError("connection_lost", "gone")

    def die(*_arguments: Any) -> Any:
        monkeypatch.setattr(MockHypervisor, "inspect", gone)
        raise KvmError("thaw_failed", "still frozen")

    monkeypatch.setattr(MockHypervisor, "take", die)
    (outcome,) = run(path)
    assert (codes([outcome]), outcome.changed) == (["thaw_failed"], False)


@pytest.mark.parametrize("patterns", [["nobody"], ["a", "nobody"]])
def test_the_task_as_a_whole(tmp_path: Path, patterns: list[str]) -> None:
    path = state_file(tmp_path, machine("a"))
    with pytest.raises(KvmError) as caught:
        run_task(MockHypervisor(path), patterns, Present(SnapshotRequest("s")), Limits(), False)
    assert caught.value.error_code == "vm_not_found"
    with pytest.raises(KvmError) as caught:
        run(path, name="a/b")
    assert caught.value.error_code == "bad_name"
    assert run(path)[0].changed


def test_what_may_be_missing_is_told_and_stops_nobody(tmp_path: Path) -> None:
    path = state_file(tmp_path, machine("a"), machine("b"))
    limits = Limits(missing="skip")
    for check_mode, word in ((True, "would be taken"), (False, "taken")):
        done = run_task(MockHypervisor(path), ["nobody", "a", "n*"], Present(SnapshotRequest("s")), limits, check_mode)
        result = outcome(Wording("snapshot", "taken"), done, check_mode)
        assert (result["changed"], result["missing"], result.get("failed")) == (True, ["nobody"], None)
        assert [(vm["vm"], vm["changed"]) for vm in result["vms"]] == [("a", True)]
        assert result["msg"] == f"snapshot of 1 VM: 1 {word}. Not on this host: nobody"


@pytest.mark.parametrize("patterns", [["n*"], ["!*"], ["*", "!a"]])
def test_nothing_that_is_meant_is_nothing_to_do(tmp_path: Path, patterns: list[str]) -> None:
    path = state_file(tmp_path, machine("a"))
    result = outcome(
        Wording("snapshot", "taken"),
        run_task(MockHypervisor(path), patterns, Present(SnapshotRequest("s")), Limits(), False),
        False,
    )
    assert (result["changed"], result["vms"], result["missing"], result["diff"]) == (False, [], [], [])
    assert result["msg"] == "snapshot of 0 VMs: nothing to do"
    assert "failed" not in result


def _goes_away(path: str, monkeypatch: pytest.MonkeyPatch, when: str, change: Any) -> None:
    """Change the first VM of a state file right before a call of the hypervisor."""
    original = getattr(MockHypervisor, when)

    def changed_before(self: MockHypervisor, *arguments: Any) -> Any:
        monkeypatch.setattr(MockHypervisor, when, original)
        state = json.loads(Path(path).read_text())
        change(state["vms"])
        Path(path).write_text(json.dumps(state))
        return original(self, *arguments)

    monkeypatch.setattr(MockHypervisor, when, changed_before)


@pytest.mark.parametrize("when", ["inspect", "plan_take", "lock"])
@pytest.mark.parametrize("change", [lambda vms: vms.pop(0), lambda vms: vms[0].update(name="z", uuid="same")])
def test_a_vm_that_goes_away_before_its_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str, change: Any
) -> None:
    """Also one that has another name by now: that is not the VM that was asked for."""
    for missing, code in (("fail", "vm_not_found"), ("skip", "")):
        path = state_file(tmp_path, machine("a", uuid="same"), machine("b"))
        with monkeypatch.context() as planted:
            _goes_away(path, planted, when, change)
            first, second = do(path, Present(SnapshotRequest("s")), parallel=1, missing=missing)
        assert codes([first, second]) == [code, ""]
        assert (first.changed, first.missing, second.changed) == (False, missing == "skip", True)
        assert "is not on this host" in first.msg


def test_one_that_goes_away_in_the_middle_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = state_file(tmp_path, machine("a"))

    def gone(*_arguments: Any) -> Any:
        raise KvmError("vm_not_found", "a is not on this host any more.")

    monkeypatch.setattr(MockHypervisor, "take", gone)
    (outcome_,) = do(path, Present(SnapshotRequest("s")), missing="skip")
    assert (codes([outcome_]), outcome_.missing) == (["vm_not_found"], False)


def test_a_rerun_of_a_crashed_vm_is_no_mismatch(tmp_path: Path) -> None:
    path = state_file(tmp_path, machine("a", state="crashed"))
    assert run(path, include_memory=True)[0].changed
    assert codes(run(path, include_memory=True)) == [""]


def test_an_interrupted_run_is_ended_first(tmp_path: Path) -> None:
    path = state_file(tmp_path, machine("a"))
    assert run(path, "s1")[0].changed
    state = json.loads(Path(path).read_text())
    state["vms"][0]["operation"] = {"kind": "remove", "snapshot": "s1", "started_at": "x"}
    Path(path).write_text(json.dumps(state))
    (said,) = run(path, "s2", check_mode=True)
    assert (said.changed, said.before, said.after) == (True, said.before, said.before)
    assert "would be finished or undone first" in said.recovered
    (was,) = run(path, "s2")
    assert ([one.name for one in was.before], [one.name for one in was.after]) == (["s1"], ["s2"])
    assert was.msg.startswith("Finished the interrupted removal of snapshot 's1'. Then: snapshot 's2' taken")
    assert not run(path, "s2")[0].changed


def test_a_check_tells_what_ending_it_would_be_refused_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = state_file(tmp_path, machine("a", operation={"kind": "remove", "snapshot": "s1", "started_at": "x"}))
    refused = KvmError("definition_changed", "Somebody put back an older definition.")
    monkeypatch.setattr(MockHypervisor, "cannot_recover", lambda *_arguments: refused)
    (said,) = run(path, "s2", check_mode=True)
    assert (said.error, said.changed, said.recovered) == (refused, False, "")


def test_a_failure_after_that_tells_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = state_file(tmp_path, machine("a"))
    assert run(path, "s1")[0].changed
    state = json.loads(Path(path).read_text())
    state["vms"][0]["operation"] = {"kind": "remove", "snapshot": "s1", "started_at": "x"}
    Path(path).write_text(json.dumps(state))
    (outcome,) = run(path, "s2", quiesce="required")
    assert (codes([outcome]), outcome.changed) == (["agent_unavailable"], True)
    assert outcome.recovered
    assert (len(outcome.before), outcome.after) == (1, ())


def test_what_cannot_be_ended_is_the_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = state_file(tmp_path, machine("a", operation={"kind": "revert", "snapshot": "s1", "started_at": "x"}))

    def fail(*_arguments: Any) -> Any:
        raise KvmError("start_failed", "it does not start")

    monkeypatch.setattr(MockHypervisor, "recover", fail)
    (outcome,) = run(path)
    assert (codes([outcome]), outcome.changed, outcome.recovered) == (["start_failed"], False, "")
