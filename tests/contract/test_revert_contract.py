# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reverting, on every backend."""

from __future__ import annotations

import pytest

from contract.results import as_checked, base, chain, done, only, refused, sound, taken, tree, unchanged
from contract.reverting import off, on, take
from contract.world import World

__all__ = ("off", "on")


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


def test_what_goes_on_with_the_vm(world: World, on: str) -> None:
    take(world, on, "s1")
    world.start_block_job(on, "vdb")
    refused(world.revert(on, "s1"), "block_job_active")
    refused(world.remove(on, "s1"), "block_job_active")
    assert world.state(on) == "running"


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
