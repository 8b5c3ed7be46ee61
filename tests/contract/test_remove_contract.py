# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What removing is with every backend, and that any run ends what another one had to leave."""

from __future__ import annotations

from typing import Any, Callable

import pytest

from contract.results import as_checked, base, chain, done, only, refused, sound, taken, tree, unchanged
from contract.reverting import off, on, take
from contract.world import World

__all__ = ("off", "on")


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("s3", [("s1", None, False), ("s2", "s1", True)]),  # the leaf, which is current
        ("s2", [("s1", None, False), ("s3", "s1", True)]),
        ("s1", [("s2", None, False), ("s3", "s2", True)]),
    ],
)
def test_of_a_vm_that_is_off(world: World, off: str, name: str, left: list[tuple[str, str | None, bool]]) -> None:
    take(world, off, "s1", "s2", "s3")
    image, files = chain(world, off)[-1], world.files(off)
    predicted = world.remove(off, name, check=True)
    assert (world.files(off), len(tree(world, off))) == (files, 3)
    real = world.remove(off, name)
    as_checked(real, predicted)
    assert done(real)["removed"] == [name]
    assert only(predicted)["copied_bytes"] == only(real)["copied_bytes"] > 0
    assert set(files) - set(world.files(off)) == set(only(real)["files_removed"])
    assert (tree(world, off), world.state(off)) == (left, "shutoff")
    assert (len(chain(world, off)), chain(world, off)[-1]) == (3, image)
    sound(world, off)
    for check in (True, False):
        again = world.remove(off, name, check=check)
        unchanged(again)
        assert only(again)["copied_bytes"] == 0
    for one, _parent, _current in left:  # what is left can still be reverted to
        done(world.revert(off, one, power="shutoff") if one == left[0][0] else world.revert(off, one))


def test_of_a_vm_that_runs(world: World, on: str) -> None:
    files = world.files(on)
    pristine = {target: chain(world, on, target) for target in ("vda", "vdb", "vdc")}
    take(world, on, "s1", "s2", "s3")
    predicted = world.remove(on, "s2", check=True)
    as_checked(world.remove(on, "s2"), predicted)
    assert tree(world, on) == [("s1", None, False), ("s3", "s1", True)]
    assert [len(chain(world, on, target)) for target in pristine] == [3, 3, 3]
    sound(world, on)
    real = world.remove(on, all_snapshots=True)
    assert done(real)["removed"] == ["s3", "s1"]
    assert {target: chain(world, on, target) for target in pristine} == pristine
    assert (world.files(on), world.state(on), tree(world, on)) == (files, "running", [])
    sound(world, on)


def test_of_a_vm_that_is_paused(world: World, on: str) -> None:
    files = world.files(on)
    take(world, on, "s1")
    world.pause(on)
    done(world.remove(on, "s1"))
    assert (world.state(on), world.files(on)) == ("paused", files)


def test_a_base_that_branches_share_is_never_written_to(world: World, off: str) -> None:
    files = world.files(off)
    take(world, off, "s1", "s2")
    done(world.revert(off, "s1"))
    take(world, off, "s3")
    shared = base(world, off, "s1")
    content = world.fingerprint(shared)
    states = {name: base(world, off, name) for name in ("s2", "s3")}
    assert done(world.remove(off, "s1"))["files_removed"] == []
    assert tree(world, off) == [("s2", None, False), ("s3", None, True)]
    assert {name: base(world, off, name) for name in states} == states
    assert world.fingerprint(shared) == content
    sound(world, off)
    done(world.remove(off, "s3"))
    assert world.fingerprint(shared) == content
    done(world.revert(off, "s2"))
    done(world.remove(off, "s2"))
    assert (world.files(off), tree(world, off)) == (files, [])


def test_what_others_built_upon_is_left_to_them(world: World, off: str) -> None:
    take(world, off, "s1")
    image = chain(world, off)[-1]
    mine = world.build_upon(off, image)
    content = world.fingerprint(image)
    assert done(world.remove(off, "s1"))["files_removed"] == []
    assert world.fingerprint(image) == content
    assert mine in world.files(off)
    assert (tree(world, off), len(chain(world, off))) == ([], 2)


def test_removal_with_children_takes_the_whole_subtree(world: World, off: str) -> None:
    take(world, off, "s1", "s2", "s3")
    done(world.revert(off, "s1"))
    take(world, off, "s4")
    predicted = world.remove(off, "s2", children=True, check=True)
    real = world.remove(off, "s2", children=True)
    as_checked(real, predicted)
    assert done(real)["removed"] == ["s3", "s2"]
    assert tree(world, off) == [("s1", None, False), ("s4", "s1", True)]
    sound(world, off)
    unchanged(world.remove(off, "s2", children=True))


def test_all_of_many_vms(world: World, on: str, off: str) -> None:
    files = [world.files(on), world.files(off)]
    take(world, off, "s1", "s2")
    done(world.revert(off, "s1"))
    take(world, off, "s3")
    take(world, on, "s1")
    predicted = world.remove([on, off], all_snapshots=True, check=True)
    real = world.remove([on, off], all_snapshots=True)
    as_checked(real, predicted)
    assert [entry["removed"] for entry in real["vms"]] == [["s1"], ["s3", "s2", "s1"]]
    assert [world.files(on), world.files(off)] == files
    again = world.remove([on, off], all_snapshots=True)
    assert (again["changed"], again["diff"], "failed" in again) == (False, [], False)


def test_the_memory_goes_too(world: World, on: str) -> None:
    files = world.files(on)
    memory = taken(world.snapshot(on, "s1", include_memory=True))["memory_file"]
    assert memory in done(world.remove(on, "s1"))["files_removed"]
    assert world.files(on) == files


def test_a_protected_snapshot_is_not_removed(world: World, off: str) -> None:
    taken(world.snapshot(off, "s1", protected=True, labels={"by": "us"}))
    take(world, off, "s2")
    files = world.files(off)
    for options in ({"name": "s1"}, {"name": "s1", "children": True}, {"all_snapshots": True}):
        for check in (True, False):
            assert "'s1'" in refused(world.remove(off, check=check, **options), "snapshot_protected")["msg"]
    assert (world.files(off), len(tree(world, off))) == (files, 2)
    done(world.remove(off, "s2"))
    unchanged(world.snapshot(off, "s1"))
    predicted = world.snapshot(off, "s1", protected=False, labels={"by": "you"}, check=True)
    real = world.snapshot(off, "s1", protected=False, labels={"by": "you"})
    assert real["diff"] == predicted["diff"]
    (noted,) = world.info(off)["snapshots"]
    assert (noted["owned"], noted["protected"], noted["labels"]) == (True, False, {"by": "you"})
    unchanged(world.snapshot(off, "s1", protected=False, labels={"by": "you"}))
    done(world.remove(off, "s1"))


def test_a_removal_that_was_interrupted(world: World, off: str) -> None:
    files = world.files(off)
    take(world, off, "s1", "s2")
    world.interrupt(off, "remove", "s1")
    operation = world.info(off)["operation"]
    assert (operation["kind"], operation["snapshot"], operation["running"]) == ("remove", "s1", False)
    predicted = world.snapshot(off, "s3", check=True)
    assert "'s1'" in done(predicted)["recovered"]
    assert world.info(off)["operation"] == operation
    entry = done(world.snapshot(off, "s3"))
    assert "removal of snapshot 's1'" in entry["recovered"]
    assert tree(world, off) == [("s2", None, False), ("s3", "s2", True)]
    sound(world, off)
    done(world.remove(off, all_snapshots=True))
    assert world.files(off) == files


@pytest.mark.parametrize("state", ["present", "reverted", "absent"])
def test_any_run_ends_an_interrupted_revert(world: World, off: str, state: str) -> None:
    take(world, off, "s1", "s2")
    world.interrupt(off, "revert", "s1")
    before = tree(world, off)
    run: Callable[[], dict[str, Any]] = {
        "present": lambda: world.snapshot(off, "s1"),
        "reverted": lambda: world.revert(off, "s2"),
        "absent": lambda: world.remove(off, "s9"),
    }[state]
    entry = done(run())
    assert "revert to snapshot 's1'" in entry["recovered"]
    assert tree(world, off) == before
    sound(world, off)
    unchanged(run())
