# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Saved memory knows the disks outside its snapshot by their files of then, which may be somebody else's by now."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .field import MakeVm, agreed, make_vm
from .field_disk import Disk
from .field_vm import FieldVm
from .odd_disks import refused
from .other_users import filled, well
from .planted import Planted, planted

__all__ = ("make_vm", "planted")

HOME = "/srv/fm"


@pytest.fixture(autouse=True)
def home(planted: Planted) -> Iterator[None]:
    planted.host.run(f"rm -rf {HOME}; mkdir -p {HOME}")
    yield
    planted.host.run(f"rm -rf {HOME}")


def with_memory_of_one_disk(make_vm: MakeVm) -> FieldVm:
    """Return a VM that runs; snapshot s1 has its memory and vda, with 1 on both disks, which have 2 by now."""
    vm = make_vm("fmweb", "vda", "vdb", directory=HOME, start=True)
    for number in (1, 2):
        vm.write("vda", number)
        vm.write("vdb", number)
        if number == 1:
            well(vm.take("s1", include_memory=True, disks=["vda"]))
    return vm


def disks_alone(vm: FieldVm, msg: str) -> None:
    """Do what the refusal names."""
    assert "give power: shutoff" in msg
    well(vm.revert("s1", power="shutoff"))
    vm.start()
    assert vm.disk_reads("vda", 1)


def test_memory_goes_on_with_the_overlay_that_its_other_disk_is_on_now(make_vm: MakeVm) -> None:
    vm = with_memory_of_one_disk(make_vm)
    well(vm.take("s2"))
    vm.write("vdb", 42)
    newest = vm.active_file("vdb")
    entry = well(agreed(vm.revert, "s1")[1])
    assert any(note.startswith("vdb is not in the snapshot") for note in entry["notes"]), entry["notes"]
    assert (vm.active_file("vdb"), vm.disk_reads("vdb", 42), vm.disk_reads("vda", 1)) == (newest, True, True)
    vm.write("vdb", 43)
    assert vm.reads(f"{HOME}/fmweb-vdb.qcow2", 2), "what s2 has frozen was written to"
    vm.sound()


@pytest.mark.parametrize("runs", [False, True], ids=["off", "running"])
def test_memory_is_not_loaded_on_a_disk_that_another_vm_has_now(make_vm: MakeVm, runs: bool) -> None:
    vm = with_memory_of_one_disk(make_vm)
    vm.off()
    vm.virsh("detach-disk", "vdb", "--config")
    other = make_vm("fmother", Disk("vda", file=f"{HOME}/fmweb-vdb.qcow2", size=""), directory=HOME, start=runs)
    other.write("vda", 77)
    vm.start()
    entry = refused(vm, "disks_changed", vm.revert, "s1")
    assert other.disk_reads("vda", 77)
    disks_alone(vm, entry["msg"])
    assert other.disk_reads("vda", 77)


def test_memory_is_not_loaded_on_a_disk_that_was_moved(make_vm: MakeVm) -> None:
    vm = with_memory_of_one_disk(make_vm)
    vm.off()
    vm.host.run(f"cp {HOME}/fmweb-vdb.qcow2 {HOME}/fmweb-new.qcow2")
    vm.redefine(f"{HOME}/fmweb-vdb.qcow2", f"{HOME}/fmweb-new.qcow2")
    vm.start()
    vm.write("vdb", 42)
    entry = refused(vm, "disks_changed", vm.revert, "s1")
    disks_alone(vm, entry["msg"])
    assert vm.disk_reads("vdb", 42)


def test_memory_beside_a_disk_whose_overlay_was_merged_since(make_vm: MakeVm) -> None:
    vm = make_vm("fmweb", "vda", "vdb", directory=HOME, start=True)
    vm.write("vda", 1)
    well(vm.take("s0"))
    well(vm.take("s1", include_memory=True, disks=["vda"]))
    vm.write("vdb", 42)
    well(agreed(vm.remove, "s0")[1])
    entry = refused(vm, "disks_changed", vm.revert, "s1")
    disks_alone(vm, entry["msg"])
    assert vm.disk_reads("vdb", 42)


@pytest.mark.parametrize("removed", [False, True])
def test_an_overlay_that_a_clone_is_based_on_is_not_offered_to_be_attached(make_vm: MakeVm, removed: bool) -> None:
    vm = filled(make_vm("fmweb", "vda", "vdb", directory=HOME), "vda", "vdb")
    overlay = vm.active_file("vdb")
    vm.virsh("detach-disk", "vdb", "--config")
    clone = make_vm("fmclone", Disk("vda", backing=overlay), directory=HOME)
    if removed:
        well(agreed(vm.remove, "s1")[1])
    (kept,) = vm.info()["kept"]
    assert (kept["file"], kept["bring_back"]) == (overlay, None), kept
    assert "fmclone" in kept["reason"]
    entry = agreed(vm.prune, keep_last=0, detached=True)[1]
    assert entry["error_code"] is None, entry["msg"]
    assert vm.reads(overlay, 42)
    assert clone.disk_reads("vda", 42)
