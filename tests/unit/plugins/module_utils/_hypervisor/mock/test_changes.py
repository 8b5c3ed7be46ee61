# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The mock when snapshots are reverted and removed: what it keeps, refuses, takes time for, and leaves when it is killed."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.mock.hypervisor import MockHypervisor
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.retention import Retention
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.outcome import VmOutcome
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.prune import Prune
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.remove import Absent, every, named
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.revert import Reverted
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.deadline import Deadline
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.request import RevertRequest
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.storage import Storage
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import VirtualMachine
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils.values import (
    codes,
    do,
    machine,
    state_file,
    take,
)


def revert(path: str, name: str = "s1", **wish: Any) -> VmOutcome:
    return do(path, Reverted(RevertRequest(name, **wish)))[0]


def remove(path: str, name: str = "", bandwidth: int = 0, **limits: Any) -> VmOutcome:
    return do(path, Absent(named(name, False) if name else every, bandwidth), **limits)[0]


def look(path: str) -> tuple[VirtualMachine, Storage]:
    hypervisor = MockHypervisor(path)
    vm = hypervisor.inspect(hypervisor.vms()[0])
    return vm, hypervisor.storage(vm)


@contextmanager
def edited(path: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Give the state and its first VM to be changed by hand."""
    state = json.loads(Path(path).read_text())
    yield state, state["vms"][0]
    Path(path).write_text(json.dumps(state))


def files(path: str) -> set[str]:
    return set(json.loads(Path(path).read_text())["files"])


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A running VM with the snapshots s1 and s2 in a row."""
    path = state_file(tmp_path, machine("a"))
    for name in ("s1", "s2"):
        assert take(path, name).changed
    return path


def test_everything_comes_back_to_one_image(path: str) -> None:
    for name in ("s1", "s2", "s1"):
        assert revert(path, name).changed
        assert look(path)[1].unknown_overlays == ()
    assert take(path, "s3").changed
    assert revert(path, "s2", keep_current=True).changed
    vm, storage = look(path)
    assert [(one.name, one.parent) for one in vm.snapshots] == [
        ("s1", None),
        ("s2", "s1"),
        ("s3", "s1"),
        ("before-s2", "s3"),
    ]
    assert storage.problems == ()
    for name in ("s3", "s1", "before-s2", "s2"):
        assert remove(path, name).changed
        assert all(not one.missing_files for one in look(path)[0].snapshots)
    assert files(path) == {"/vm/a.qcow2"}
    with edited(path) as (_state, native):
        assert (native["disks"][0]["source"], native["overlays"], native["former"]) == ("/vm/a.qcow2", [], [])


def test_an_older_state_file_has_no_states_noted(path: str) -> None:
    with edited(path) as (_state, native):
        for snapshot in native["snapshots"]:
            for key in ("owned", "protected", "labels"):
                del snapshot[key]
            del snapshot["disks"][0]["base"]
        for key in ("overlays", "former", "operation"):
            native.pop(key, None)
    vm, _storage = look(path)
    assert [(one.disks[0].base, one.owned) for one in vm.snapshots] == [
        ("/vm/a.qcow2", False),
        ("/vm/a.vda.s1.qcow2", False),
    ]
    assert revert(path).changed
    assert remove(path).changed
    assert files(path) == {"/vm/a.qcow2"}


@pytest.mark.parametrize(
    ("values", "error_code"),
    [
        ({"managed_save": True, "state": "shutoff"}, "managed_save"),
        ({"managed_save": True, "state": "running"}, ""),
        ({"persistent": False}, "transient_domain"),
        ({"state": "pmsuspended"}, "bad_state"),
        ({"state": "crashed"}, ""),
    ],
)
def test_states_of_a_vm(path: str, values: dict[str, Any], error_code: str) -> None:
    with edited(path) as (_state, native):
        native.update(values)
    assert codes([take(path, "s3"), revert(path), remove(path)]) == [error_code] * 3


def test_disks_of_another_time(path: str) -> None:
    with edited(path) as (_state, native):
        native["disks"][0]["source"] = "/vm/another.qcow2"
    outcome = revert(path)
    assert codes([outcome]) == ["disks_changed"]
    assert "vda is another disk now" in outcome.msg
    with edited(path) as (_state, native):
        native["disks"] = [
            {"target": "vdb", "source": "/vm/b.qcow2"},
            {"target": "sda", "source": None, "device": "cdrom"},
        ]
    outcome = revert(path)
    assert outcome.error is not None
    assert outcome.error.details == {"removed": ["vda"], "added": ["vdb"], "replaced": []}


def test_files_that_are_gone(path: str) -> None:
    with edited(path) as (state, native):
        native["disks"][0]["source"] = "/vm/a.qcow2"
        state["files"]["/vm/a.vda.s1.qcow2"] = None
    for outcome in (revert(path, "s2"), remove(path, "s2")):
        assert codes([outcome]) == ["file_missing"]
        assert outcome.error is not None
        assert outcome.error.details == {"files": ["/vm/a.vda.s1.qcow2"]}
    with edited(path) as (state, native):
        native["disks"][0]["source"] = "/vm/a.vda.s2.qcow2"
    assert codes([remove(path, "s1")]) == ["chain_mismatch"]
    assert codes([revert(path, "s1")]) == [""]  # its own state is there


def test_a_memory_that_is_gone_can_be_removed(tmp_path: Path) -> None:
    path = state_file(tmp_path, machine("a"))
    assert take(path, "s1", include_memory=True).changed
    with edited(path) as (state, _native):
        state["files"]["/vm/a.s1.memory"] = None
    assert codes([revert(path)]) == ["file_missing"]
    assert codes([revert(path, power="shutoff")]) == [""]
    assert remove(path).changed


def test_a_directory_that_cannot_be_written(path: str) -> None:
    with edited(path) as (state, _native):
        state["directories"]["/vm"] = {"read_only": True}
    assert codes([revert(path)]) == ["overlay_dir_unusable"]


def test_room_that_a_merge_may_need(path: str) -> None:
    with edited(path) as (state, _native):
        state["directories"]["/vm"] = {"total": 1 << 40, "free": 1 << 20}
        state["files"]["/vm/a.vda.s2.qcow2"]["size"] = 1 << 30
    assert codes([remove(path, "s2")]) == ["no_space"]
    assert remove(path, "s1").changed
    with edited(path) as (state, _native):
        state["directories"]["/vm"]["free"] = 1 << 31
    assert remove(path).changed
    assert MockHypervisor(path).room("/vm").free == 1 << 31  # the same data, elsewhere


def test_a_mixed_snapshot_is_refused(path: str) -> None:
    with edited(path) as (_state, native):
        native["snapshots"][1]["kind"] = "mixed"
    assert codes([revert(path, "s2"), remove(path, "s2")]) == ["mixed_chain"] * 2


def test_an_image_that_holds_snapshots_inside_stays(path: str) -> None:
    inside = {"name": "i1", "kind": "internal", "disks": [{"target": "vda"}]}
    with edited(path) as (_state, native):
        native["snapshots"].append(inside)
    assert look(path)[0].find("i1").disks[0].base == "/vm/a.qcow2"  # type: ignore[union-attr]
    assert codes([revert(path, "i1"), remove(path, "i1")]) == ["mixed_chain"] * 2
    outcome = remove(path, "s1")
    assert (outcome.changed, outcome.files_removed) == (True, ())
    assert {"/vm/a.qcow2", "/vm/a.vda.s1.qcow2", "/vm/a.vda.s2.qcow2"} == files(path)


def test_another_vm_on_our_layers(tmp_path: Path) -> None:
    path = state_file(tmp_path, machine("a"), machine("z"))
    for name in ("s1", "s2"):
        assert take_of_a(path, name)
    with edited(path) as (state, _native):
        state["files"]["/vm/clone"] = {"format": "qcow2", "backing_file": "/vm/a.vda.s1.qcow2"}
        state["vms"][1]["disks"][0]["source"] = "/vm/clone"
    hypervisor = MockHypervisor(path)
    vm = hypervisor.inspect(hypervisor.vms()[0])
    assert hypervisor.storage(vm).unknown_overlays == ()
    for outcome in do(path, Absent(every)):
        assert codes([outcome]) == [""]
    state = json.loads(Path(path).read_text())
    assert state["files"]["/vm/clone"]["backing_file"] == "/vm/a.vda.s1.qcow2"
    assert "/vm/a.vda.s1.qcow2" in state["files"]


def take_of_a(path: str, name: str) -> bool:
    hypervisor = MockHypervisor(path)
    vm = hypervisor.inspect(hypervisor.vms()[0])
    from ansible_collections.limiquantix.kvm.plugins.module_utils._task.take import plan_take
    from ansible_collections.limiquantix.kvm.plugins.module_utils._values.request import SnapshotRequest

    return bool(hypervisor.take(plan_take(hypervisor, vm, SnapshotRequest(name)), Deadline(9)))


def test_only_overlays_that_nothing_needs_are_orphans(path: str) -> None:
    overlay = {"format": "qcow2", "size": 1, "backing_file": "/vm/a.qcow2"}
    with edited(path) as (state, _native):
        state["files"].update(
            {
                "/vm/lost": overlay,
                "/vm/on-lost": {**overlay, "backing_file": "/vm/lost"},
                "/vm/alone": {**overlay, "backing_file": None},
            }
        )
    vm, storage = look(path)
    assert storage.orphans == ("/vm/lost", "/vm/on-lost")
    assert set(storage.orphans) <= set(storage.unknown_overlays)
    hypervisor = MockHypervisor(path)
    asked = ["/vm/lost", "/vm/a.vda.s1.qcow2", "/vm/alone", "/vm/none"]
    assert hypervisor.delete_orphans(vm, asked) == ("/vm/lost",)
    assert files(path) == {"/vm/a.qcow2", "/vm/a.vda.s1.qcow2", "/vm/a.vda.s2.qcow2", "/vm/on-lost", "/vm/alone"}


def test_a_layer_that_only_an_orphan_holds_up_is_merged_with_its_snapshot(path: str) -> None:
    with edited(path) as (state, _native):
        state["files"]["/vm/lost"] = {"format": "qcow2", "size": 1, "backing_file": "/vm/a.qcow2"}
    prune = Prune(Retention(names=("s1",), orphans=True), datetime.now(timezone.utc))
    (told,), (done,) = do(path, prune, check_mode=True), do(path, prune)
    assert told.files_removed == done.files_removed == ("/vm/a.vda.s1.qcow2",)
    assert told.orphans_removed == done.orphans_removed == ("/vm/lost",)
    assert files(path) == {"/vm/a.qcow2", "/vm/a.vda.s2.qcow2"}


def test_a_merge_that_takes_too_long_goes_on_the_next_time(path: str) -> None:
    with edited(path) as (_state, native):
        native["slow_seconds"] = 5
    layers = look(path)[1].chains
    outcome = remove(path, "s1", timeout=1)
    assert codes([outcome]) == ["timeout"]
    vm, storage = look(path)
    assert (storage.chains, vm.state) == (layers, "running")
    assert vm.interrupted is not None
    assert str(vm.interrupted.kind) == "remove"
    with edited(path) as (_state, native):
        native["slow_seconds"] = 0
    outcome = take(path, "s2")
    assert outcome.recovered == "Finished the interrupted removal of snapshot 's1'."
    assert outcome.msg == f"{outcome.recovered} Then: snapshot 's2' already exists"
    assert (outcome.changed, [one.name for one in outcome.after]) == (True, ["s2"])
    assert look(path)[0].operation is None
    assert not take(path, "s2").changed


def test_a_narrow_bandwidth_takes_its_time(path: str) -> None:
    with edited(path) as (state, _native):
        state["files"]["/vm/a.vda.s2.qcow2"]["size"] = 100 << 20
    assert codes([remove(path, "s2", bandwidth=10, timeout=1)]) == ["timeout"]
    started = time.monotonic()
    assert remove(path, "s2", bandwidth=1000, timeout=5).recovered
    assert time.monotonic() - started < 4


@pytest.mark.parametrize("kind", ["remove", "revert"])
def test_a_run_that_is_killed(path: str, kind: str) -> None:
    with edited(path) as (_state, native):
        native["slow_seconds"] = 30
    before, _storage = look(path)
    run = os.fork()
    if run == 0:
        remove(path, "s1") if kind == "remove" else revert(path)
        os._exit(0)
    operation = None
    end = time.monotonic() + 10
    while time.monotonic() < end and not (operation and (operation.percent is not None or kind == "revert")):
        time.sleep(0.05)
        operation = look(path)[0].operation
    assert operation is not None
    assert (operation.kind, operation.snapshot, operation.running) == (kind, "s1", True)
    (waiting,) = do(path, Absent(every), check_mode=True)
    assert (waiting.changed, "another run is at work on it" in waiting.msg) == (False, True)
    os.kill(run, 9)
    os.waitpid(run, 0)
    vm, _storage = look(path)
    assert vm.interrupted is not None
    assert vm.snapshots == before.snapshots
    with edited(path) as (_state, native):
        native["slow_seconds"] = 0
    outcome = revert(path, "s2")
    assert f"interrupted {'removal of' if kind == 'remove' else 'revert to'} snapshot 's1'" in outcome.recovered
    assert [one.name for one in outcome.after] == (["s2"] if kind == "remove" else ["s1", "s2"])


@pytest.mark.parametrize(
    ("kind", "snapshot", "sentence"),
    [
        ("remove", "gone", "Finished the interrupted removal of snapshot 'gone'."),
        ("take", "s1", "Finished the interrupted taking of snapshot 's1'."),
        ("take", "none", "Undid the interrupted taking of snapshot 'none'."),
        ("revert", "s1", "Undid the interrupted revert to snapshot 's1'."),
    ],
)
def test_what_is_said_of_what_was_left(path: str, kind: str, snapshot: str, sentence: str) -> None:
    with edited(path) as (_state, native):
        native["operation"] = {"kind": kind, "snapshot": snapshot, "started_at": "x"}
    assert take(path, "s1").recovered == sentence
    assert MockHypervisor(path).recover(look(path)[0], Deadline(1)).msg == ""


@pytest.mark.parametrize("operation", [{}, {"kind": "x", "snapshot": "s", "started_at": ""}, {"kind": "take"}])
def test_an_operation_that_is_none(path: str, operation: dict[str, Any]) -> None:
    with edited(path) as (_state, native):
        native["operation"] = operation
    with pytest.raises(KvmError) as caught:
        MockHypervisor(path)
    assert caught.value.error_code == "bad_request"


def test_notes_on_a_snapshot_are_kept(path: str) -> None:
    assert take(path, "s1", protected=True, labels={"a": "b"}).changed
    found = look(path)[0].find("s1")
    assert found is not None
    assert (found.owned, found.protected, found.labels) == (True, True, {"a": "b"})
    assert revert(path).changed  # protected from removal, not from use
    assert codes([remove(path, "s1")]) == ["snapshot_protected"]
    assert not take(path, "s1").changed
    assert take(path, "s1", protected=False).changed
    assert remove(path, "s1").changed
