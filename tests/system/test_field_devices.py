# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Block devices as a VM's disks: their room, their numbers, and overlays on them."""

from __future__ import annotations

import json

from contract.world import IMAGES

from .field import MakeVm, make_vm
from .odd_disks import (
    MIB,
    Device,
    both,
    covered,
    device,
    on_device,
    refused,
    removed,
    reverted,
    taken,
    toggle,
    whole_life,
)
from .planted import Planted, planted

__all__ = ("device", "make_vm", "planted")


@both
def test_a_raw_block_device(make_vm: MakeVm, device: Device, running: bool) -> None:
    path = device.make("disksblk", 32 * MIB)
    vm = make_vm("disksblk", on_device(path))
    assert "overlay_dir" in refused(vm, "overlay_dir_unusable", vm.take, "s1")["msg"]
    before = vm.xml(inactive=True)
    whole_life(vm, "vda", running, overlay_dir=IMAGES)
    assert vm.xml(inactive=True) == before  # /dev/disksvg/…, and no number of a loop device
    layers = vm.info()["chains"][0]["layers"]
    assert [(layer["file"], layer["virtual_size"]) for layer in layers] == [(path, 32 * MIB)]


@both
def test_room_is_not_that_of_the_folder_of_devices(make_vm: MakeVm, device: Device, running: bool) -> None:
    """8 MiB in an overlay, and 64 KiB in /dev."""
    path = device.make("disksroom", 32 * MIB)
    vm = make_vm("disksroom", on_device(path), start=running)
    taken(vm, "s1", overlay_dir=IMAGES)
    vm.write("vda", 7, "8M")
    removed(vm, "s1")
    assert vm.disk_reads("vda", 7, "8M")
    assert vm.active_file("vda") == path


@both
def test_a_qcow2_on_a_device_that_is_full(make_vm: MakeVm, device: Device, planted: Planted, running: bool) -> None:
    path = device.make("disksfull", 16 * MIB)
    planted.host.run(f"qemu-img create -q -f qcow2 {path} 64M; qemu-io -f qcow2 -c 'write -P 1 0 12M' {path}")
    vm = make_vm("disksfull", on_device(path, image_format="qcow2"), start=running)
    taken(vm, "s1", overlay_dir=IMAGES)
    vm.write("vda", 2, "12M")  # as much as is there already: nothing is needed
    removed(vm, "s1")
    assert vm.disk_reads("vda", 2, "12M")
    taken(vm, "s2", overlay_dir=IMAGES)
    vm.write("vda", 3, "20M")
    entry = refused(vm, "no_space", vm.remove, "s2")
    assert "lvextend" in entry["msg"]
    assert vm.disk_reads("vda", 3, "20M")
    reverted(vm, "s2")
    assert vm.disk_reads("vda", 2, "12M")
    removed(vm, "s2")
    vm.sound()


@both
def test_a_device_that_is_smaller_than_its_disk_is_now(make_vm: MakeVm, device: Device, running: bool) -> None:
    path = device.make("disksgrown", 16 * MIB)
    vm = make_vm("disksgrown", on_device(path), start=True)
    taken(vm, "s1", overlay_dir=IMAGES)
    vm.virsh("blockresize", "vda", "32M")
    vm.write("vda", 9)
    toggle(vm, running)
    entry = refused(vm, "no_space", vm.remove, "s1")
    assert "16 MiB" in entry["msg"]
    assert "32 MiB" in entry["msg"]
    assert vm.disk_reads("vda", 9)


@both
def test_a_device_may_have_another_number_after_a_reboot(
    make_vm: MakeVm, device: Device, planted: Planted, running: bool
) -> None:
    paths = [device.make(f"disksnum{index}", 16 * MIB) for index in (1, 2)]
    disks = (on_device(paths[0]), on_device(paths[1], "vdb"))
    vm = make_vm("disksnum", *disks)
    for target, pattern in (("vda", 1), ("vdb", 2)):
        vm.write(target, pattern)
    taken(vm, "s1", overlay_dir=IMAGES, disks=("vda",))
    taken(vm, "s2", overlay_dir=IMAGES)
    vm.write("vda", 3)
    vm.write("vdb", 4)
    device.renumber()
    toggle(vm, running)
    vm.sound()
    removed(vm, "s1")
    assert vm.disk_reads("vda", 3)
    assert vm.disk_reads("vdb", 4)
    reverted(vm, "s2")
    assert vm.disk_reads("vda", 1)
    assert vm.disk_reads("vdb", 2)
    removed(vm, "s2")
    vm.sound()
    assert [vm.active_file(target) for target in ("vda", "vdb")] == paths
    told = json.loads(planted.host.run(f"cat /var/lib/limiquantix-kvm/{vm.uuid}.json").stdout)
    assert "loop" not in json.dumps([told["former"], told["overlays"]])


def test_a_block_device_that_is_kept_out(make_vm: MakeVm, device: Device) -> None:
    path = device.make("disksblkno", 16 * MIB)
    vm = make_vm("disksblkno", "vda", on_device(path, "vdb", attributes="snapshot='no'"), start=True)
    vm.write("vdb", 1)
    assert covered(taken(vm, "s1")) == ["vda"]  # and no overlay_dir is asked for
    vm.write("vdb", 2)
    reverted(vm, "s1")
    assert vm.disk_reads("vdb", 2)
    removed(vm, "s1")
    assert vm.active_file("vdb") == path


@both
def test_a_device_on_which_an_overlay_on_another_device_is_based(
    make_vm: MakeVm, device: Device, planted: Planted, running: bool
) -> None:
    path, clone = device.make("disksbase", 16 * MIB), device.make("disksclone", 16 * MIB, "/root")
    vm = make_vm("disksbase", on_device(path))
    vm.write("vda", 1)
    planted.host.run(f"qemu-img create -q -f qcow2 -b {path} -F raw {clone} 16M")
    toggle(vm, running)
    taken(vm, "s1", overlay_dir=IMAGES)
    vm.write("vda", 2)
    assert path in str(removed(vm, "s1")["notes"])
    assert vm.disk_reads("vda", 2)
    assert vm.reads(clone, 1)
