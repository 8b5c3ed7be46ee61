# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What others wrote to what a snapshot froze is found out and told, and gone back to only where that is accepted."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from contract.results import as_checked, base, done, refused, sound, taken
from contract.world import World


@pytest.fixture
def off(world: World) -> Iterator[str]:
    """A pristine VM that is shut off."""
    world.reset("off01")
    yield "off01"
    world.reset("off01")


def pasts(world: World, vm: str) -> dict[str, str]:
    return {one["name"]: one["past"] for one in world.info(vm)["snapshots"]}


def test_nobody_wrote_to_it(world: World, off: str) -> None:
    for name in ("s1", "s2", "s3"):
        predicted, real = world.snapshot(off, name, check=True), world.snapshot(off, name)
        assert taken(real)["past"] == taken(predicted)["past"] == "unchanged"
        assert taken(real)["past_reasons"] == []
    done(world.remove(off, "s2"))
    assert not done(world.revert(off, "s1"))["notes"]
    assert pasts(world, off) == {"s1": "unchanged", "s3": "unchanged"}
    sound(world, off)


def test_somebody_wrote_to_it(world: World, off: str) -> None:
    for name in ("s1", "s2"):
        taken(world.snapshot(off, name))
    image = base(world, off, "s1")
    world.spoil(image)
    assert pasts(world, off) == {"s1": "changed", "s2": "changed"}
    assert [image in one and "changed by others on " in one for one in world.info(off)["problems"]] == [True]
    files, before = world.files(off), world.fingerprint(image)
    for check in (True, False):
        entry = refused(world.revert(off, "s1", check=check), "snapshot_changed")
        assert set(entry["details"]) == {"snapshot", "reasons"}
        assert all(word in entry["msg"] for word in (image, "changed by others on ", "accept_changed"))
    assert (world.files(off), world.fingerprint(image)) == (files, before)

    predicted, real = (world.revert(off, "s1", check=check, accept_changed=True) for check in (True, False))
    as_checked(real, predicted)
    assert any("accept_changed" in note and image in note for note in done(real)["notes"])
    assert pasts(world, off)["s1"] == "changed"
    done(world.remove(off, "s1"))
    assert pasts(world, off) == {"s2": "changed"}


def test_one_inside_the_image_is_not_proven(world: World, off: str) -> None:
    world.take_inside(off, "i1")
    assert pasts(world, off) == {"i1": "unproven"}
    predicted, real = (world.revert(off, "i1", check=check) for check in (True, False))
    as_checked(real, predicted)
    assert any("not proven" in note for note in done(real)["notes"])
