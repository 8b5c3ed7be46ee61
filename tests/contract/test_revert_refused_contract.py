# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a revert refuses, on every backend, and that nothing is changed then."""

from __future__ import annotations

import pytest

from contract.results import base, chain, done, refused, tree
from contract.reverting import off, on, take
from contract.world import World

__all__ = ("off", "on")


@pytest.mark.parametrize("check", [True, False])
def test_an_unknown_snapshot_is_refused_and_the_known_are_named(world: World, on: str, check: bool) -> None:
    take(world, on, "s1")
    files = world.files(on)
    entry = refused(world.revert(on, "s2", check=check, keep_current=True), "snapshot_not_found")
    assert "s1" in entry["msg"]
    assert (world.files(on), world.state(on), tree(world, on)) == (files, "running", [("s1", None, True)])


def test_a_state_that_is_gone(world: World, on: str) -> None:
    take(world, on, "s1", "s2")
    done(world.revert(on, "s1"))
    world.remove_file(base(world, on, "s2"))
    files = world.files(on)
    for check in (True, False):
        refused(world.revert(on, "s2", check=check), "file_missing")
    assert (world.files(on), world.state(on)) == (files, "running")


def test_a_disk_that_was_added_since(world: World, on: str) -> None:
    take(world, on, "s1")
    world.attach_disk(on, "vdd")
    files = world.files(on)
    for check in (True, False):
        assert "vdd" in refused(world.revert(on, "s1", check=check), "disks_changed")["msg"]
    assert (world.files(on), world.state(on)) == (files, "running")


def test_a_disk_that_was_removed_since(world: World, on: str) -> None:
    take(world, on, "s1")
    world.power_off(on)
    world.detach_disk(on, "vdb")
    assert "vdb" in refused(world.revert(on, "s1"), "disks_changed")["msg"]
    assert world.state(on) == "shutoff"


def test_a_vm_with_saved_memory_is_refused(world: World, on: str) -> None:
    take(world, on, "s1")
    world.save_memory(on)
    refused(world.revert(on, "s1", power="running"), "managed_save")
    refused(world.remove(on, "s1"), "managed_save")
    refused(world.snapshot(on, "s2"), "managed_save")
    assert world.state(on) == "shutoff"


def test_one_inside_the_image(world: World, off: str) -> None:
    files = world.files(off)
    world.take_inside(off, "i1")
    world.take_inside(off, "i2")
    done(world.revert(off, "i1"))
    assert tree(world, off) == [("i1", None, True), ("i2", "i1", False)]
    assert done(world.remove(off, "i2"))["files_removed"] == []
    take(world, off, "s1")
    for name in ("i1",):  # an overlay is based on its image now
        refused(world.revert(off, name), "mixed_chain")
    done(world.revert(off, "s1", power="paused"))
    done(world.remove(off, "s1"))
    assert [one[0] for one in tree(world, off)] == ["i1"]
    assert set(files) <= set(world.files(off))


def test_a_vm_that_another_run_holds(world: World, off: str) -> None:
    take(world, off, "s1")
    world.write(chain(world, off)[0])
    other = world.driver()
    try:
        other.send("hold", vm=off)
        assert other.answer() == {}
        refused(world.revert(off, "s1", timeout=1), "locked")
        refused(world.remove(off, "s1", timeout=1), "locked")
    finally:
        other.end()
    done(world.revert(off, "s1", timeout=60))
