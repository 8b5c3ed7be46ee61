# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM that is created again with its name finds what another of that name left."""

from __future__ import annotations

import re
from functools import partial

import pytest

from .field import MakeVm, agreed, make_vm
from .field_disk import Disk
from .field_vm import FieldVm
from .other_users import HOME, depths, home, left_by_another, names, refused, well
from .planted import planted

__all__ = ("home", "make_vm", "planted")


def told_and_cleared(vm: FieldVm, overlays: list[str]) -> None:
    """Assert that the first take tells of what was left and how to clear it, that this works, and nothing stays then."""
    assert names(vm.info()["unknown_overlays"], overlays[-1])
    entry = well(agreed(vm.take, "s1")[1])
    vm.write("vda", 43)
    assert names(entry["notes"], *overlays), entry["notes"]
    assert names(entry["notes"], "orphans"), f"no word of how to clear it: {entry['notes']}"
    cleared = well(agreed(vm.prune, orphans=True)[1])
    assert sorted(cleared["orphans_removed"]) == sorted(overlays)
    entry = well(agreed(vm.remove, "s1")[1])
    assert entry["notes"] == []
    assert depths(vm) == {"vda": 1}
    assert vm.disk_reads("vda", 43)
    vm.sound()


def test_a_vm_created_again(make_vm: MakeVm) -> None:
    vm, overlays, _saved = left_by_another(make_vm, "s1")
    vm.define()
    told_and_cleared(vm, overlays)


def test_a_vm_created_again_after_two_snapshots(make_vm: MakeVm) -> None:
    vm, overlays, _saved = left_by_another(make_vm, "s1", "s2")
    vm.define()
    told_and_cleared(vm, overlays)


def test_a_vm_created_again_with_its_uuid(make_vm: MakeVm) -> None:
    """Its record outlived it, so it can be known that the VM was on what was left."""
    vm, overlays, saved = left_by_another(make_vm, "s1")
    vm.define(saved)
    if vm.take("s1", check=True)["error_code"] is None:
        told_and_cleared(vm, overlays)
    else:
        refused(vm, partial(vm.take, "s1"), overlays[0])


def test_a_vm_created_again_is_told_once(make_vm: MakeVm) -> None:
    vm, overlays, _saved = left_by_another(make_vm, "s1")
    vm.define()
    assert names(well(vm.take("a"))["notes"], overlays[0])
    assert not names(well(vm.take("b"))["notes"], overlays[0]), "at the first take, not at each"


def test_a_vm_created_again_on_what_was_left(make_vm: MakeVm) -> None:
    """Then that is its disk, and nothing is left over."""
    vm, overlays, saved = left_by_another(make_vm, "s1")
    vm.define(saved.replace(f"{HOME}/fuweb.qcow2", overlays[0]))
    entry = well(agreed(vm.take, "s1")[1])
    assert not names(entry["notes"], overlays[0]), entry["notes"]
    vm.write("vda", 43)
    well(agreed(vm.revert, "s1")[1])
    assert vm.disk_reads("vda", 42)
    well(agreed(vm.remove, "s1")[1])
    assert vm.disk_reads("vda", 42)
    assert vm.active_file("vda") == overlays[0]


@pytest.mark.parametrize("clone", ["clone.qcow2", "fuweb.clone"])
def test_what_a_vm_that_moved_to_another_host_is_on_stays(make_vm: MakeVm, clone: str) -> None:
    """This host may serve its image to the other one. A clone of its base tells nothing of that, be it named as overlays are."""
    vm, overlays, _saved = left_by_another(make_vm, "s1")
    other = make_vm("fuclone", Disk("vda", file=f"{HOME}/{clone}", backing=f"{HOME}/fuweb.qcow2"), directory=HOME)
    for taken in (False, True):
        if taken:
            well(other.take("s1"))
        assert other.info()["orphans"] == []
        entry = agreed(other.prune, orphans=True)[1]
        assert (entry["error_code"], entry["orphans_removed"]) == (None, [])
    assert vm.reads(overlays[0], 42)


@pytest.mark.parametrize("layer", ["an overlay of before", "the image of before"])
def test_who_writes_below_a_vm_created_again_is_named(make_vm: MakeVm, layer: str) -> None:
    """It has another UUID and no snapshots; the record of the VM that is gone tells what is its own past."""
    vm, overlays, saved = left_by_another(make_vm, "s1", "s2")
    base = f"{HOME}/fuweb.qcow2"
    vm.define(re.sub("<uuid>.*</uuid>", "", saved).replace(base, overlays[-1]))
    well(vm.take("s3"))
    file = overlays[0] if layer == "an overlay of before" else base
    make_vm("furescue", Disk("vda", file=file, size=""), directory=HOME)
    info = vm.info()
    assert info["look"] == "act", info
    assert names(info["problems"], file, "furescue"), info
    assert agreed(partial(vm.remove, "s3"))[1]["error_code"] == "frozen_image_written"
