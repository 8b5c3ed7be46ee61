# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state of a VM's TPM is copied with its disks, comes back with them, and goes with its snapshot."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from contract.results import as_checked, chain, done, refused, sound, taken
from contract.world import World

COPY = "/var/lib/libvirt/swtpm/off01.tpm.s1.permall"


@pytest.fixture
def off(world: World) -> Iterator[str]:
    """A pristine VM that is shut off."""
    if not world.tpm:
        pytest.skip(f"{world.name} has no swtpm")
    world.reset("off01")
    yield "off01"
    world.reset("off01")


def test_a_tpm_comes_back_with_the_disks(world: World, off: str) -> None:
    state = world.add_tpm(off)
    predicted, real = world.snapshot(off, "s1", check=True), world.snapshot(off, "s1")
    for one in (predicted, real):
        assert (taken(one)["tpm"], taken(one)["left_out"]) == (COPY, [])
    assert done(predicted)["notes"] == done(real)["notes"]
    before = world.fingerprint(state)
    world.use_tpm(state)
    assert world.fingerprint(state) != before
    (entry,) = world.info(off)["snapshots"]
    assert (entry["tpm"], entry["past"], entry["left_out"]) == (COPY, "unchanged", [])
    predicted, real = (world.revert(off, "s1", check=check) for check in (True, False))
    as_checked(real, predicted)
    assert world.fingerprint(state) == before
    predicted, real = (world.remove(off, "s1", check=check) for check in (True, False))
    as_checked(real, predicted)
    assert COPY in done(real)["files_removed"]
    assert world.fingerprint(state) == before
    sound(world, off)


def test_a_tpm_whose_file_is_not_there_is_left_out(world: World, off: str) -> None:
    world.remove_file(world.add_tpm(off))
    predicted, real = world.snapshot(off, "s1", check=True), world.snapshot(off, "s1")
    for one in (predicted, real):
        assert (taken(one)["tpm"], [part["target"] for part in taken(one)["left_out"]]) == (None, ["tpm"])
        assert "is not there: libvirt makes it when the VM is started" in taken(one)["left_out"][0]["reason"]
    world.write(chain(world, off)[0])
    (note,) = [note for note in done(world.revert(off, "s1", power="shutoff"))["notes"] if "TPM" in note]
    assert note == "the state of the TPM stays as it is now, because the snapshot has no copy of it"


def test_a_copy_that_others_changed_is_refused(world: World, off: str) -> None:
    world.add_tpm(off)
    taken(world.snapshot(off, "s1"))
    world.use_tpm(COPY)
    for check in (True, False):
        assert COPY in refused(world.revert(off, "s1", check=check), "snapshot_changed")["msg"]
    world.remove_file(COPY)  # a file of theirs by now: no task deletes it
