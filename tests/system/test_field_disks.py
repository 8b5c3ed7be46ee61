# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM without disks, what is no disk of it, and disks that were resized."""

from __future__ import annotations

from .field import MakeVm, agreed, make_vm
from .field_disk import Disk, create_image
from .odd_disks import MIB, both, device, left_out, removed, reverted, taken, toggle, well
from .planted import Planted, planted

__all__ = ("device", "make_vm", "planted")

BESIDE = """
    <filesystem type='mount' accessmode='mapped'><source dir='/srv'/><target dir='disksshare'/></filesystem>"""

DRIVE = """<qemu:commandline>
    <qemu:arg value='-drive'/><qemu:arg value='file=/srv/disksbeside.qcow2,if=none,id=extra,format=qcow2'/>
    <qemu:arg value='-blockdev'/>
    <qemu:arg value='driver=file,node-name=more,filename=/srv/disksbeside-more.qcow2'/>
  </qemu:commandline>"""

NVDIMM = """<memory model='nvdimm'><source><path>/srv/disksbeside.nv</path></source>
      <target><size unit='MiB'>16</size><node>0</node></target></memory>"""


def test_what_is_no_disk(make_vm: MakeVm, planted: Planted) -> None:
    for name in ("disksbeside", "disksbeside-more"):
        create_image(planted.host, f"/srv/{name}.qcow2", size="1M")
    planted.host.run("truncate -s 16M /srv/disksbeside.nv; chmod 666 /srv/disksbeside*")
    vm = make_vm("disksbeside", "vda", devices=BESIDE, elements=DRIVE)
    off = taken(vm, "s1")
    said = left_out(off)
    assert "9p" in said.pop("disksshare")
    assert [target.split()[0] for target in said] == ["-drive", "-blockdev"]
    assert "/srv/disksbeside.qcow2" in next(iter(said))
    assert left_out({"snapshot": vm.info()["snapshots"][0]}) == left_out(off)
    removed(vm, "s1")
    vm.start()
    assert left_out(taken(vm, "s2")) == left_out(off)
    removed(vm, "s2")
    planted.host.run("rm -f /srv/disksbeside*")


def test_an_nvdimm_is_told_as_left_out(make_vm: MakeVm, planted: Planted) -> None:
    planted.host.run("truncate -s 16M /srv/disksnv.nv")
    memory = NVDIMM.replace("disksbeside", "disksnv")
    vm = make_vm(
        "disksnv",
        "vda",
        devices=memory,
        elements="""<maxMemory slots='2' unit='MiB'>512</maxMemory>
          <cpu><numa><cell id='0' cpus='0' memory='16' unit='MiB'/></numa></cpu>""",
    )
    entry = taken(vm, "s1")
    assert list(left_out(entry)) == ["nvdimm /srv/disksnv.nv"]
    assert left_out({"snapshot": vm.info()["snapshots"][0]}) == left_out(entry)
    planted.host.run("rm -f /srv/disksnv.nv")


def test_a_device_of_the_host(make_vm: MakeVm) -> None:
    device = """<hostdev mode='subsystem' type='pci' managed='yes'>
      <source><address domain='0x0000' bus='0x06' slot='0x12' function='0x5'/></source></hostdev>"""
    vm = make_vm("diskshostdev", "vda", devices=device)
    entry = taken(vm, "s1")
    assert [target.split()[:2] for target in left_out(entry)] == [["hostdev", "pci"]]
    assert left_out({"snapshot": vm.info()["snapshots"][0]}) == left_out(entry)


def test_a_vm_without_disks(make_vm: MakeVm) -> None:
    cdrom = "<disk type='file' device='cdrom'><target dev='sda' bus='sata'/><readonly/></disk>"
    vm = make_vm("disksnone", Disk("sda", xml=cdrom), start=True)
    for options in ({}, {"on_uncovered": "leave_out"}, {"include_memory": True}):
        _told, done = agreed(vm.take, "s1", **options)
        assert (done["error_code"], done["changed"]) == (None, False), done["msg"]
        assert any("empty drive" in note for note in done["notes"]), done["notes"]
    vm.off()
    assert agreed(vm.take, "s1")[1]["error_code"] is None


@both
def test_a_disk_that_was_resized(make_vm: MakeVm, running: bool) -> None:
    vm = make_vm("diskssize", "vda", start=True)
    vm.write("vda", 1)
    taken(vm, "s1")
    vm.virsh("blockresize", "vda", "96M")
    toggle(vm, running)
    told, done = agreed(vm.revert, "s1")
    says = "disk vda shrinks from 96 MiB to 64 MiB"
    assert says in done["notes"]
    assert says in told["msg"]
    well(done)
    assert vm.info()["chains"][0]["layers"][0]["virtual_size"] == 64 * MIB
    assert vm.disk_reads("vda", 1)
    # Kept, the larger one comes back.
    toggle(vm, True)
    vm.virsh("blockresize", "vda", "80M")
    reverted(vm, "s1", keep_current=True)
    entry = reverted(vm, "before-s1")
    assert "disk vda grows from 64 MiB to 80 MiB" in entry["notes"]


def test_a_resize_alone_is_a_change(make_vm: MakeVm) -> None:
    vm = make_vm("diskssize2", "vda", start=True)
    taken(vm, "s1")
    vm.virsh("blockresize", "vda", "96M")
    vm.off()
    assert "disk vda shrinks from 96 MiB to 64 MiB" in well(agreed(vm.revert, "s1")[1])["notes"]
