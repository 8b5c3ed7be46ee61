# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Removing on the mock: merges as libvirt would, their room and their time."""

from __future__ import annotations

import json
import time
from pathlib import Path

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.mock.hypervisor import MockHypervisor
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.remove import Absent, every
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.deadline import Deadline
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils._hypervisor.mock.one_vm import (
    edited,
    files,
    look,
    path,
    remove,
    revert,
)
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils.values import (
    codes,
    do,
    machine,
    state_file,
    take,
)

__all__ = ("path",)


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


def test_a_merge_that_takes_too_long_goes_on_the_next_time(path: str) -> None:
    with edited(path) as (_state, native):
        native["slow_seconds"] = 5
    layers = look(path)[1].chains
    outcome = remove(path, "s1", timeout=1)
    assert (outcome.error, outcome.merge is not None, outcome.removed) == (None, True, ())
    vm, storage = look(path)
    assert (storage.chains, vm.power) == (layers, "running")
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
    told = remove(path, "s2", bandwidth=10, timeout=1)
    assert (told.error, told.changed, told.removed) == (None, True, ())
    assert told.merge is not None
    assert (told.merge.percent, told.merge.bytes_per_second, told.merge.seconds_left) == (10, 10 << 20, 9)
    started = time.monotonic()
    assert remove(path, "s2", bandwidth=1000, timeout=5).recovered
    assert time.monotonic() - started < 4
