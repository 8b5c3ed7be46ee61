# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What reverting is with every backend."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from contract.results import as_checked, base, chain, done, only, refused, sound, taken, tree, unchanged
from contract.world import World


@pytest.fixture
def off(world: World) -> Iterator[str]:
    """A pristine VM that is shut off."""
    world.reset("off01")
    yield "off01"
    world.reset("off01")


@pytest.fixture
def on(world: World) -> Iterator[str]:
    """A pristine VM that runs, with two qcow2 disks, a raw one and a cdrom."""
    world.reset("files01")
    yield "files01"
    world.reset("files01")


def take(world: World, vm: str, *names: str) -> None:
    for name in names:
        taken(world.snapshot(vm, name, quiesce="never"))


def test_to_a_leaf_and_again(world: World, off: str) -> None:
    take(world, off, "s1")
    written, image = chain(world, off)
    unchanged(world.revert(off, "s1"))
    world.write(written)
    files = world.files(off)

    predicted = world.revert(off, "s1", check=True)
    assert (world.files(off), chain(world, off)) == (files, [written, image])
    real = world.revert(off, "s1")
    as_checked(real, predicted)
    assert done(real)["files_removed"] == [written]
    assert f"file: {written}\n" in real["diff"][0]["before"]
    assert f"file: {written}\n" not in real["diff"][0]["after"]
    assert only(real)["snapshot"]["name"] == "s1"

    overlay, below = chain(world, off)
    assert (below, tree(world, off)) == (image, [("s1", None, True)])
    assert sorted(world.files(off)) == sorted({*files, overlay} - {written})
    sound(world, off)
    for check in (True, False):
        unchanged(world.revert(off, "s1", check=check))


def test_of_a_running_vm_throws_away_every_time(world: World, on: str) -> None:
    take(world, on, "s1")
    for _time in range(2):
        before = {target: chain(world, on, target) for target in ("vda", "vdb", "vdc")}
        predicted = world.revert(on, "s1", check=True)
        real = world.revert(on, "s1")
        as_checked(real, predicted)
        assert sorted(done(real)["files_removed"]) == sorted(layers[0] for layers in before.values())
        assert {target: chain(world, on, target)[1:] for target in before} == {
            target: layers[1:] for target, layers in before.items()
        }
    assert world.state(on) == "running"
    sound(world, on)


def test_other_branches_stay_and_can_be_reverted_to(world: World, off: str) -> None:
    take(world, off, "s1", "s2")
    states = {name: base(world, off, name) for name in ("s1", "s2")}
    for name in ("s1", "s2"):  # one with children, and back
        done(world.revert(off, name))
        assert [one[0] for one in tree(world, off) if one[2]] == [name]
        assert {one: base(world, off, one) for one in states} == states
        sound(world, off)
    done(world.revert(off, "s1"))
    take(world, off, "s3")
    done(world.revert(off, "s2"))
    assert tree(world, off) == [("s1", None, False), ("s2", "s1", True), ("s3", "s1", False)]
    done(world.revert(off, "s3"))
    assert chain(world, off)[1:] == [base(world, off, "s3"), states["s1"]]
    sound(world, off)


@pytest.mark.parametrize(
    ("before", "power", "after"),
    [
        ("running", "restore", "running"),
        ("paused", "restore", "paused"),
        ("shutoff", "restore", "shutoff"),
        ("running", "shutoff", "shutoff"),
        ("running", "paused", "paused"),
        ("shutoff", "running", "running"),
        ("shutoff", "paused", "paused"),
    ],
)
def test_the_vm_gets_the_power_that_was_asked_for(world: World, on: str, before: str, power: str, after: str) -> None:
    take(world, on, "s1")
    if before == "paused":
        world.pause(on)
    elif before == "shutoff":
        world.power_off(on)
        world.write(chain(world, on)[0])
    predicted = world.revert(on, "s1", power=power, check=True)
    assert world.state(on) == before
    real = world.revert(on, "s1", power=power)
    as_checked(real, predicted)
    assert (done(real)["power"], world.state(on)) == (after, after)
    assert (f"power: {before}" in real["diff"][0]["before"]) is (before != after)


def test_memory_goes_on(world: World, on: str) -> None:
    memory = taken(world.snapshot(on, "s1", include_memory=True))["memory_file"]
    for _time in range(2):
        done(world.revert(on, "s1"))
        assert world.state(on) == "running"
        assert memory in world.files(on)
    off = done(world.revert(on, "s1", power="shutoff"))
    assert "its memory is not loaded, since the VM stays off" in off["notes"]
    assert done(world.revert(on, "s1", power="paused"))["power"] == "paused"
    world.remove_file(memory)
    refused(world.revert(on, "s1", power="running"), "file_missing")
    assert world.state(on) == "paused"


def test_what_was_there_is_kept_as_a_snapshot(world: World, off: str) -> None:
    take(world, off, "s1")
    for kept in ("before-s1", "before-s1-2"):
        world.write(chain(world, off)[0])
        state = chain(world, off)[0]
        predicted = world.revert(off, "s1", keep_current=True, check=True)
        real = world.revert(off, "s1", keep_current=True)
        as_checked(real, predicted)
        assert kept in done(real)["msg"]
        assert base(world, off, kept) == state
        assert (kept, "s1", False) in tree(world, off)
        sound(world, off)
    unchanged(world.revert(off, "s1", keep_current=True))  # nothing to keep
    done(world.revert(off, "before-s1"))  # the revert, reverted
    assert chain(world, off)[1] == base(world, off, "before-s1")


def test_only_the_disks_of_the_snapshot_go_back(world: World, on: str) -> None:
    take(world, on, "s1")
    taken(world.snapshot(on, "s2", disks=["vdb"]))
    before = {target: chain(world, on, target) for target in ("vda", "vdb", "vdc")}
    assert done(world.revert(on, "s2"))["files_removed"] == [before["vdb"][0]]
    assert {target: chain(world, on, target) for target in ("vda", "vdc")} == {
        target: before[target] for target in ("vda", "vdc")
    }


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


def test_what_goes_on_with_the_vm(world: World, on: str) -> None:
    take(world, on, "s1")
    world.start_block_job(on, "vdb")
    refused(world.revert(on, "s1"), "block_job_active")
    refused(world.remove(on, "s1"), "block_job_active")
    assert world.state(on) == "running"


def test_a_vm_with_saved_memory_is_refused(world: World, on: str) -> None:
    take(world, on, "s1")
    world.save_memory(on)
    refused(world.revert(on, "s1", power="running"), "managed_save")
    refused(world.remove(on, "s1"), "managed_save")
    refused(world.snapshot(on, "s2"), "managed_save")
    assert world.state(on) == "shutoff"


def test_one_that_others_took(world: World, on: str) -> None:
    world.take_outside(on, "theirs")
    first, *image = chain(world, on)
    assert world.info(on)["snapshots"][0]["owned"] is False
    assert done(world.revert(on, "theirs"))["files_removed"] == [first]
    assert chain(world, on)[1:] == image
    take(world, on, "ours")
    done(world.remove(on, "theirs"))
    assert [one[0] for one in tree(world, on)] == ["ours"]
    assert chain(world, on)[1:] == image
    sound(world, on)


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
