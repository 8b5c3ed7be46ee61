# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Transient disks: libvirt puts an overlay on them at each start, which goes when the VM stops."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .field import MakeVm, make_vm
from .field_disk import Disk
from .field_vm import FieldVm
from .odd_disks import both, covered, left_out, refused, removed, reverted, taken, well
from .planted import Planted, planted

__all__ = ("make_vm", "planted")

HOME = "/srv/passing"  # nothing of these VMs lies anywhere else
TRANSIENT = "<transient/>"


@pytest.fixture(autouse=True)
def home(planted: Planted) -> Iterator[None]:
    planted.host.run(f"rm -rf {HOME}; mkdir -p {HOME}")
    yield
    planted.host.run(f"rm -rf {HOME}")


def beside(make_vm: MakeVm, running: bool) -> FieldVm:
    """Return a VM with an ordinary disk, and a transient one with 7 on it for good."""
    vm = make_vm("passing1", "vda", Disk("vdb", inside=TRANSIENT), directory=HOME)
    vm.write("vda", 1)
    vm.write("vdb", 7)
    if running:
        vm.start()
        vm.write("vdb", 8)
    return vm


@both
def test_a_transient_disk_is_told_and_left_out(make_vm: MakeVm, running: bool) -> None:
    vm = beside(make_vm, running)
    said = refused(vm, "disk_not_covered", vm.take, "s1")["msg"]
    assert "is transient" in said
    assert "disks: [vda]" in said
    refused(vm, "disk_not_covered", vm.take, "s1", disks=["vdb"])
    if running:
        refused(vm, "memory_blocked", vm.take, "s1", disks=["vda"], include_memory=True)
    entry = taken(vm, "s1", on_uncovered="leave_out")
    assert covered(entry) == ["vda"]
    assert "transient" in left_out(entry)["vdb"]


@both
def test_a_vm_with_a_transient_disk_lives_on(make_vm: MakeVm, running: bool) -> None:
    vm = beside(make_vm, running)
    taken(vm, "s1", disks=["vda"])
    vm.write("vda", 2)
    vm.sound()
    taken(vm, "s2", disks=["vda"])
    reverted(vm, "s1")
    assert vm.disk_reads("vda", 1)
    assert vm.disk_reads("vdb", 7)  # it was stopped, or is off
    vm.write("vda", 3)
    vm.sound()
    removed(vm, "s1")
    assert vm.disk_reads("vda", 3)
    removed(vm, "s2")
    vm.sound()
    if running:
        vm.off()
    assert vm.reads(f"{HOME}/passing1-vdb.qcow2", 7)
    assert (vm.active_file("vda"), vm.disk_reads("vda", 3)) == (f"{HOME}/passing1.qcow2", True)


def turned_transient(make_vm: MakeVm) -> FieldVm:
    """Return a VM whose disk was made transient after its snapshot: 1 in s1, 42 for good, 8 until it stops."""
    vm = make_vm("passing1", "vda", directory=HOME)
    vm.write("vda", 1)
    taken(vm, "s1")
    vm.write("vda", 42)
    vm.redefine("<target dev='vda' bus='virtio'/>", f"<target dev='vda' bus='virtio'/>{TRANSIENT}")
    return vm


def test_a_layer_under_a_running_transient_disk_is_not_merged(make_vm: MakeVm) -> None:
    vm = turned_transient(make_vm)
    vm.start()
    vm.write("vda", 8)
    refused(vm, "disk_not_covered", vm.take, "s2")
    said = refused(vm, "bad_state", vm.remove, "s1")["msg"]
    assert "transient" in said
    vm.off()
    removed(vm, "s1")
    assert (vm.active_file("vda"), vm.disk_reads("vda", 42)) == (f"{HOME}/passing1.qcow2", True)
    vm.sound()


@both
def test_a_transient_disk_goes_back(make_vm: MakeVm, running: bool) -> None:
    vm = turned_transient(make_vm)
    if running:
        vm.start()
        vm.write("vda", 8)
    reverted(vm, "s1")
    assert vm.disk_reads("vda", 1)
    vm.sound()
    if running:
        vm.write("vda", 9)
        reverted(vm, "s1")
        assert vm.disk_reads("vda", 1)
        vm.off()
    removed(vm, "s1")
    assert (vm.active_file("vda"), vm.disk_reads("vda", 1)) == (f"{HOME}/passing1.qcow2", True)


def test_a_revert_that_was_killed_when_the_transient_disk_ran_again(make_vm: MakeVm, planted: Planted) -> None:
    vm = turned_transient(make_vm)
    vm.start()
    assert planted.revert("before(revert.Revert, '_end', die)", vm.name, "s1") == {"killed": True}
    assert vm.state == "running"
    entry = well(vm.revert("s1"))
    assert "Finished the interrupted revert" in entry["recovered"], entry
    assert vm.disk_reads("vda", 1)
    vm.sound()


SHARED = "<transient shareBacking='yes'/>"


@both
@pytest.mark.parametrize("other_runs", [True, False])
def test_the_base_of_another_vms_transient_disk_is_in_use(make_vm: MakeVm, running: bool, other_runs: bool) -> None:
    vm = make_vm("passing1", "vda", directory=HOME)
    vm.write("vda", 1)
    taken(vm, "s1")
    vm.write("vda", 42)
    base = f"{HOME}/passing1.qcow2"
    other = make_vm("passing2", Disk("vda", file=base, size="", inside=SHARED), directory=HOME)
    if running:
        vm.start()
    if other_runs:
        other.start()
    info = vm.info()
    assert info["look"] != "act", info
    taken(vm, "s2")
    reverted(vm, "s1")
    vm.write("vda", 43)
    entry = removed(vm, "s1")
    assert "passing2" in str(entry["notes"]), entry
    assert vm.reads(base, 1)
    assert vm.disk_reads("vda", 43)
    if other_runs:
        assert other.disk_reads("vda", 1)
        other.write("vda", 9)
        other.off()
    other.wipe()
