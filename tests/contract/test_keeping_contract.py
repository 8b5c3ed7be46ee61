# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is kept with a snapshot, when it expires, and what goes by that."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from contract.results import as_checked, base, done, only, refused, sound, taken, unchanged
from contract.world import World


@pytest.fixture
def off(world: World) -> Iterator[str]:
    """A pristine VM that is shut off."""
    world.reset("off01")
    yield "off01"
    world.reset("off01")


def later(moment: str, days: float) -> str:
    return (datetime.fromisoformat(moment) + timedelta(days=days)).isoformat()


def test_a_span_counts_from_when_it_was_taken(world: World, off: str) -> None:
    predicted, real = (world.snapshot(off, "s1", expires="14d", check=check) for check in (True, False))
    assert real["diff"] == predicted["diff"]
    snapshot = taken(real)
    assert snapshot["expires"] == later(snapshot["created_at"], 14)
    assert only(predicted)["snapshot"]["expires"]
    assert world.info(off)["snapshots"] == [snapshot]
    for check in (True, False):
        unchanged(world.snapshot(off, "s1", expires="14d", check=check))
        unchanged(world.snapshot(off, "s1", check=check))
    assert taken(world.snapshot(off, "s2"))["expires"] is None


@pytest.mark.parametrize("memory", [False, True])
def test_what_is_kept_with_it_is_changed_at_once_and_nothing_else(world: World, memory: bool) -> None:
    vm = "files01"
    world.reset(vm)
    before = taken(world.snapshot(vm, "s1", description="before", include_memory=memory, quiesce="never"))
    child = taken(world.snapshot(vm, "s2", quiesce="never"))
    wish = {"description": "two\nlines, <tags>", "protected": True, "labels": {"by": "me"}, "expires": "30d"}
    predicted, real = (
        world.snapshot(vm, "s1", check=check, include_memory=memory, quiesce="never", **wish) for check in (True, False)
    )
    assert real["diff"] == predicted["diff"]
    assert 'description of s1: "before"\n' in real["diff"][0]["before"]
    assert only(predicted)["msg"].replace("would be changed", "changed") == done(real)["msg"]
    expected = {**before, **wish, "expires": later(before["created_at"], 30), "current": False}
    for one in (*only(real)["snapshot"]["disks"], *expected["disks"]):
        one["size"] = None
    assert only(real)["snapshot"] == expected
    first, second = world.info(vm)["snapshots"]
    assert {key: first[key] for key in wish} == {**wish, "expires": expected["expires"]}
    assert (second["name"], second["parent"], second["current"], second["description"]) == (
        "s2",
        "s1",
        True,
        child["description"],
    )
    unchanged(world.snapshot(vm, "s1", include_memory=memory, quiesce="never", **wish))
    # Each alone leaves the others, and what is not given stays.
    for alone in ({"description": ""}, {"protected": False}, {"labels": {}}, {"expires": "never"}):
        done(world.snapshot(vm, "s1", include_memory=memory, quiesce="never", **alone))
        wish.update(alone)
    first, second = world.info(vm)["snapshots"]
    assert [first[key] for key in wish] == ["", False, {}, None]
    # They go along with what removing and reverting make of the tree.
    done(world.snapshot(vm, "s2", description="kept", expires="1d", quiesce="never"))
    done(world.remove(vm, "s1"))
    done(world.revert(vm, "s2"))
    (left,) = world.info(vm)["snapshots"]
    assert (left["description"], left["expires"]) == ("kept", later(left["created_at"], 1))
    sound(world, vm)
    world.reset(vm)


def test_one_that_others_took_is_noted_too(world: World, off: str) -> None:
    world.take_outside(off, "s1")
    (theirs,) = world.info(off)["snapshots"]
    done(world.snapshot(off, "s1", description="of the backup", expires="1w"))
    (noted,) = world.info(off)["snapshots"]
    assert noted == {**theirs, "description": "of the backup", "expires": later(noted["created_at"], 7)}
    # Forgotten and taken anew it is another one, of which nothing is noted.
    world.take_anew(off, "s1")
    (anew,) = world.info(off)["snapshots"]
    assert (anew["description"], anew["expires"]) == ("by hand", None)


@pytest.mark.parametrize("expires", ["14x", "-1d", "0d", "2020-01-01", ""])
@pytest.mark.parametrize("check", [True, False])
def test_an_expiry_that_makes_no_sense(world: World, off: str, expires: str, check: bool) -> None:
    result = world.snapshot(off, "s1", expires=expires, check=check)
    assert (result["failed"], result["error_code"], result["vms"]) == (True, "bad_request", [])
    assert world.info(off)["snapshots"] == []


def test_labels_choose_what_is_shown_and_what_goes(world: World, off: str) -> None:
    taken(world.snapshot(off, "s1", labels={"by": "me", "change": "1"}))
    taken(world.snapshot(off, "s2", labels={"by": "me", "change": "2"}))
    taken(world.snapshot(off, "s3", labels={"by": "you"}, protected=True))

    def shown(**labels: str) -> list[str]:
        return [one["name"] for one in world.info(off, labels=labels)["snapshots"]]

    assert (shown(by="me"), shown(by="me", change="2"), shown(by="me", change="3")) == (["s1", "s2"], ["s2"], [])
    unchanged(world.remove(off, "s1", labels={"by": "you"}))
    # What is protected and does not carry them is not meant, and so not in the way.
    wish: dict[str, Any] = {"all_snapshots": True, "labels": {"by": "me", "change": "2"}}
    predicted, real = (world.remove(off, check=check, **wish) for check in (True, False))
    as_checked(real, predicted)
    assert done(real)["removed"] == ["s2"]
    unchanged(world.remove(off, **wish))
    refused(world.remove(off, all_snapshots=True, labels={"by": "you"}), "snapshot_protected")
    assert [one["name"] for one in world.info(off)["snapshots"]] == ["s1", "s3"]
    sound(world, off)


def test_what_has_expired_goes_and_nothing_else(world: World, off: str) -> None:
    first = taken(world.snapshot(off, "old", expires="1d"))["created_at"]
    taken(world.snapshot(off, "golden", expires="1d", protected=True))
    taken(world.snapshot(off, "late", expires="3d"))
    taken(world.snapshot(off, "ever"))
    soon, then = later(first, 0.9), later(first, 2)
    unchanged(world.prune(off, expired=True, at=soon))
    predicted, real = (world.prune(off, expired=True, at=then, check=check) for check in (True, False))
    as_checked(real, predicted)
    assert (done(real)["removed"], done(real)["kept"]) == (["old"], ["golden", "late", "ever"])
    assert done(real)["kept_because"] == {"golden": ["protected"], "late": ["not expired"], "ever": ["not expired"]}
    unchanged(world.prune(off, expired=True, at=then))
    done(world.snapshot(off, "late", expires="never"))
    unchanged(world.prune(off, expired=True, at=later(first, 400)))
    sound(world, off)


def test_a_prune_says_what_merging_copies_and_needs(world: World, off: str) -> None:
    for name in ("s1", "s2", "s3"):
        taken(world.snapshot(off, name))
    predicted, real = (world.prune(off, keep_last=1, check=check) for check in (True, False))
    as_checked(real, predicted)
    told, entry = only(predicted), done(real)
    assert told["copied_bytes"] > 0
    assert [(one["bytes"] > 0, one["directory"]) for one in told["room_needed"]] == [
        (True, base(world, off, "s3").rpartition("/")[0])
    ]
    assert "Merging copies at most" in told["msg"]
    assert {key: entry[key] for key in ("copied_bytes", "room_needed")} == {
        key: told[key] for key in ("copied_bytes", "room_needed")
    }
    again = only(world.prune(off, keep_last=1))
    assert (again["changed"], again["copied_bytes"], again["room_needed"]) == (False, 0, [])
