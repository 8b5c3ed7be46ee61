# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs that meet on one VM: one works, the other waits and then finds it done."""

from __future__ import annotations

from contract.results import names, refused, taken
from contract.taking import name
from contract.world import World

__all__ = ("name",)


def test_a_vm_that_another_run_holds_is_locked(world: World, name: str) -> None:
    other = world.driver()
    try:
        other.send("hold", vm="off01")
        assert other.answer() == {}
        refused(world.snapshot("off01", name, timeout=1), "locked")
        assert taken(world.snapshot("files01", name, timeout=1))
        assert world.snapshot("off01", name, timeout=1, check=True)["changed"]
    finally:
        other.end()
    assert taken(world.snapshot("off01", name, timeout=1))  # the lock died with its holder


def test_two_runs_at_once_take_one_snapshot(world: World, name: str) -> None:
    before = world.files("files01")
    runs = [world.driver() for _number in range(3)]
    try:
        for run in runs:
            run.send("snapshot", vms=["files01"], name=name, check=False, limits={})
        results = [run.answer() for run in runs]
    finally:
        for run in runs:
            run.end()
    assert sorted(result["changed"] for result in results) == [False, False, True]
    assert [result["msg"] for result in results if result.get("failed")] == []
    assert len(set(world.files("files01")) - set(before)) == 3  # an overlay for each of its disks
    assert names(world, "files01").count(name) == 1


def test_one_at_a_time_is_the_same(world: World, name: str) -> None:
    result = world.snapshot(["off01", "files01"], name, parallel=1)
    assert [(entry["vm"], entry["changed"]) for entry in result["vms"]] == [("files01", True), ("off01", True)]
