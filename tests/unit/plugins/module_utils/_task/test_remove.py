# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""State absent: what is chosen, refused and foretold, and what a failure in the middle leaves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.mock.hypervisor import MockHypervisor
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.taking.existing_snapshot import existing_snapshot
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.outcome import VmOutcome
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.remove import Absent, every, named
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.revert import Reverted
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.request import RevertRequest, SnapshotRequest
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils.values import (
    codes,
    do,
    machine,
    snapshot,
    state_file,
    take,
    vm,
)

TREE = (
    snapshot("root"),
    snapshot("left", "root"),
    snapshot("leaf", "left", protected=True),
    snapshot("right", "root", current=True),
)


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A running VM with s1, its child s2 and that one's sibling s3, which the present is based on."""
    path = state_file(tmp_path, machine("a"))
    take(path, "s1")
    take(path, "s2")
    assert do(path, Reverted(RevertRequest("s1")))[0].changed
    assert take(path, "s3").changed
    return path


def remove(path: str, name: str = "", check_mode: bool = False, children: bool = False, **values: Any) -> VmOutcome:
    (outcome,) = do(path, Absent(named(name, children) if name else every, **values), check_mode)
    return outcome


def test_a_name_its_children_or_all_are_chosen() -> None:
    machine = vm(snapshots=TREE)
    assert [one.name for one in named("left", False)(machine)] == ["left"]
    assert [one.name for one in named("right", True)(machine)] == ["right"]
    assert named("nobody", True)(machine) == ()
    assert [one.name for one in every(vm(snapshots=TREE[:2]))] == ["left", "root"]
    assert every(vm()) == ()


@pytest.mark.parametrize("choose", [named("leaf", False), named("left", True), every])
def test_a_protected_snapshot_is_refused_however_it_is_chosen(choose: Any) -> None:
    with pytest.raises(KvmError) as caught:
        choose(vm(snapshots=TREE))
    assert (caught.value.error_code, caught.value.details) == ("snapshot_protected", {"snapshots": ["leaf"]})


@pytest.mark.parametrize("memory", [True, False])
def test_the_way_to_take_the_protection_off_asks_for_the_memory_that_is_there(*, memory: bool) -> None:
    """Another task would be refused: it asks for another snapshot of that name."""
    held = vm(snapshots=(snapshot("s", protected=True, include_memory=memory),))
    with pytest.raises(KvmError, match="is protected") as caught:
        every(held)
    asks = "include_memory: true" in caught.value.remedy
    assert existing_snapshot(held, SnapshotRequest("s", include_memory=asks, protected=False)) is held.snapshots[0]
    with pytest.raises(KvmError, match="already has a snapshot 's'"):
        existing_snapshot(held, SnapshotRequest("s", include_memory=not asks, protected=False))


@pytest.mark.parametrize(
    ("name", "children", "removed", "left"),
    [
        ("s1", False, ("s1",), ["s2", "s3"]),
        ("s2", False, ("s2",), ["s1", "s3"]),
        ("s3", True, ("s3",), ["s1", "s2"]),
        ("s1", True, ("s3", "s2", "s1"), []),
        ("", False, ("s3", "s2", "s1"), []),
    ],
)
def test_a_check_foretells(path: str, name: str, children: bool, removed: tuple[str, ...], left: list[str]) -> None:
    before = Path(path).read_text()
    said = remove(path, name, True, children)
    assert Path(path).read_text() == before
    was = remove(path, name, False, children)
    assert (said.before_text, said.after_text) == (was.before_text, was.after_text)
    assert (said.files_removed, said.removed, was.removed) == (was.files_removed, removed, removed)
    files = json.loads(Path(path).read_text())["files"]
    assert not set(was.files_removed) & set(files)
    assert set(was.files_removed) <= set(json.loads(before)["files"])
    assert [one.name for one in was.after] == left
    for check_mode in (True, False):
        again = remove(path, name, check_mode, children)
        assert (again.changed, again.removed, again.msg) == (False, (), "it has no snapshots")
    if not left:
        assert list(files) == ["/vm/a.qcow2"]


def test_the_diff_names_the_files_that_go(path: str) -> None:
    outcome = remove(path, "s3", True)
    assert outcome.files_removed
    for file in outcome.files_removed:
        assert f"file: {file}\n" in outcome.before_text
        assert file not in outcome.after_text


def test_what_went_is_told_also_where_nobody_can_look_any_more(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """libvirtd is restarted after the first removal: the VM cannot be inspected over that connection."""
    remove_one, inspect, gone = MockHypervisor.remove, MockHypervisor.inspect, []

    def lost(*_arguments: Any) -> Any:
        raise KvmError("connection_lost", "libvirt is gone")

    def remove_then_lose(self: MockHypervisor, plan: Any, *arguments: Any) -> Any:
        if gone:
            monkeypatch.setattr(MockHypervisor, "inspect", lost)
            lost()
        gone.append(plan)
        return remove_one(self, plan, *arguments)

    monkeypatch.setattr(MockHypervisor, "remove", remove_then_lose)
    outcome = remove(path)
    monkeypatch.setattr(MockHypervisor, "inspect", inspect)
    assert (codes([outcome]), outcome.changed) == (["connection_lost"], True)
    assert outcome.files_removed


def test_a_failure_in_the_middle_keeps_the_rest(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    original = MockHypervisor.remove

    def fail_at_s2(self: MockHypervisor, plan: Any, *arguments: Any) -> Any:
        if plan.snapshots[0].name == "s2":
            raise KvmError("merge_failed", "an I/O error")
        return original(self, plan, *arguments)

    monkeypatch.setattr(MockHypervisor, "remove", fail_at_s2)
    outcome = remove(path)
    assert (codes([outcome]), outcome.changed) == (["merge_failed"], True)
    assert (outcome.removed, outcome.kept) == (("s3",), ("s2", "s1"))
    assert "Removed before that: s3. Still there: s2, s1." in outcome.msg


def test_one_that_is_half_removed_is_not_called_removed(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    original = MockHypervisor.remove

    def fail_halfway_through_s2(self: MockHypervisor, plan: Any, *arguments: Any) -> Any:
        notes = original(self, plan, *arguments)
        if plan.snapshots[0].name == "s2":
            state = json.loads(Path(path).read_text())
            state["vms"][0]["operation"] = {"kind": "remove", "snapshot": "s2", "started_at": "2030-01-01"}
            Path(path).write_text(json.dumps(state))
            raise KvmError("timeout", "too slow")
        return notes

    monkeypatch.setattr(MockHypervisor, "remove", fail_halfway_through_s2)
    outcome = remove(path)
    assert codes([outcome]) == ["timeout"]
    assert (outcome.removed, outcome.kept) == (("s3",), ("s1",))


def test_one_that_was_replaced_meanwhile_is_left_alone(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    original = MockHypervisor.remove

    def replace_s2(self: MockHypervisor, *arguments: Any) -> Any:
        notes = original(self, *arguments)
        state = json.loads(Path(path).read_text())
        for entry in state["vms"][0]["snapshots"]:
            if entry["name"] == "s2":
                entry["created_at"] = "2030-01-01T00:00:00+00:00"
        Path(path).write_text(json.dumps(state))
        return notes

    monkeypatch.setattr(MockHypervisor, "remove", replace_s2)
    assert codes([remove(path)]) == ["busy"]
