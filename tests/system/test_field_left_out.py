# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks that a snapshot leaves out, or cannot hold: kept out by their definition, encrypted, read in part."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from contract.world import IMAGES
from lab.api import Host

from .field import MakeVm, agreed, make_vm
from .field_disk import Disk, create_image
from .field_vm import FieldVm
from .odd_disks import both, covered, left_out, refused, removed, reverted, taken, toggle, well, whole_life
from .planted import Planted, planted

__all__ = ("make_vm", "planted")

KEPT_AS = "5c7b8a7e-2c0d-4a53-9a0b-0d1f8c2e7a11"

LUKS = f"<encryption format='luks'><secret type='passphrase' uuid='{KEPT_AS}'/></encryption>"


def modes(vm: Planted) -> tuple[str, ...]:
    return ("no", "manual") if vm.host.name != "hv-bullseye" else ("no",)  # manual: since libvirt 8.2


@pytest.mark.parametrize(
    ("mode", "running"), [("no", True), ("no", False), ("manual", True)], ids=["no-running", "no-off", "manual-running"]
)
def test_a_disk_is_kept_out_of_snapshots(make_vm: MakeVm, planted: Planted, mode: str, running: bool) -> None:
    if mode not in modes(planted):
        pytest.skip("this libvirt does not know it")
    vm = make_vm("disksno", "vda", Disk("vdb", attributes=f"snapshot='{mode}'"), start=running)
    vm.write("vdb", 1)
    entry = taken(vm, "s1")
    assert (covered(entry), list(left_out(entry))) == (["vda"], ["vdb"])
    assert f"snapshot='{mode}'" in left_out(entry)["vdb"]
    vm.write("vda", 41)
    vm.write("vdb", 42)
    reverted(vm, "s1")
    assert vm.disk_reads("vdb", 42)
    removed(vm, "s1")
    assert vm.disk_reads("vdb", 42)
    # Named, it is in it.
    assert covered(taken(vm, "s2", disks=("vda", "vdb"))) == ["vda", "vdb"]
    vm.write("vdb", 43)
    reverted(vm, "s2", keep_current=True)
    assert vm.disk_reads("vdb", 42)
    reverted(vm, "before-s2")
    assert vm.disk_reads("vdb", 43)
    well(vm.prune(keep_last=0))
    assert f"snapshot='{mode}'" in vm.xml(inactive=True)
    vm.sound()


def test_a_vm_whose_disks_are_all_kept_out(make_vm: MakeVm) -> None:
    vm = make_vm("disksallno", Disk("vda", attributes="snapshot='no'"))
    assert "disks: [vda]" in refused(vm, "disk_not_covered", vm.take, "s1")["msg"]
    _told, done = agreed(vm.take, "s1", on_uncovered="leave_out")
    assert (done["error_code"], done["changed"]) == (None, False)
    assert any("vda" in note for note in done["notes"])


def test_a_cdrom_that_says_something_of_snapshots(make_vm: MakeVm, planted: Planted) -> None:
    iso = create_image(planted.host, f"{IMAGES}/disks.iso", "raw", size="1M")
    cdrom = f"""<disk type='file' device='cdrom' snapshot='no'><driver name='qemu' type='raw'/><source file='{iso}'/>
      <target dev='sda' bus='sata'/><readonly/></disk>"""
    vm = make_vm("diskscd", "vda", devices=cdrom, start=True)
    assert left_out(taken(vm, "s1")) == {"sda": "a cdrom"}
    removed(vm, "s1")


def test_what_else_a_disk_says_stays(make_vm: MakeVm) -> None:
    """copy_on_read, discard, a serial number, an I/O limit: nothing of the definition changes but the file."""
    element = f"""<disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' cache='none' copy_on_read='on' discard='unmap' detect_zeroes='unmap'/>
      <source file='{IMAGES}/diskssay.qcow2' startupPolicy='mandatory'/><target dev='vda' bus='virtio'/>
      <iotune><total_iops_sec>5000</total_iops_sec></iotune><serial>S-1</serial></disk>"""
    vm = make_vm("diskssay", Disk("vda", xml=element, file=f"{IMAGES}/diskssay.qcow2"), start=True)
    before = vm.xml(inactive=True)
    whole_life(vm, "vda", True)
    assert vm.xml(inactive=True) == before


@pytest.fixture
def secret(planted: Planted) -> Iterator[str]:
    """A passphrase in a file, and the same as a secret of libvirt."""
    host = planted.host
    host.put("/run/disks.key", "open sesame")
    host.put("/run/disks.xml", f"<secret ephemeral='no' private='yes'><uuid>{KEPT_AS}</uuid></secret>")
    host.virsh("secret-define", "/run/disks.xml")
    host.run(["virsh", "secret-set-value", KEPT_AS, "b3BlbiBzZXNhbWU="])
    yield "/run/disks.key"
    host.virsh("secret-undefine", KEPT_AS)


def luks_image(host: Host, image_format: str, file: str, key: str) -> None:
    options = {"luks": "key-secret=s", "qcow2": "encrypt.format=luks,encrypt.key-secret=s"}[image_format]
    cheap = options.replace("key-secret=s", "iter-time=10") if image_format == "luks" else "encrypt.iter-time=10"
    create = f"qemu-img create -q -f {image_format} --object secret,id=s,file={key} -o {options},{cheap} {file} 16M"
    # On a busy machine QEMU cannot measure how long a key takes, and gives up.
    host.run(f"for try in 1 2 3 4 5; do rm -f {file}; {create} && exit; done; exit 1")


def encrypted(make_vm: MakeVm, host: Host, key: str, image_format: str, start: bool) -> FieldVm:
    vm = make_vm("disksluks", "vda", Disk("vdb", format="raw" if image_format == "luks" else "qcow2"))
    file = vm.active_file("vdb")
    luks_image(host, image_format, file, key)
    vm.redefine(f"<source file='{file}'/>", f"<source file='{file}'>{LUKS}</source>")
    if start:
        vm.start()
    return vm


@pytest.mark.parametrize(
    ("image_format", "running"), [("luks", True), ("qcow2", False)], ids=["luks-running", "qcow2-off"]
)
def test_an_encrypted_disk_is_refused_or_left_out(
    make_vm: MakeVm, planted: Planted, secret: str, image_format: str, running: bool
) -> None:
    vm = encrypted(make_vm, planted.host, secret, image_format, running)
    entry = refused(vm, "disk_not_covered", vm.take, "s1")
    assert "vdb" in entry["msg"]
    assert "encrypted" in entry["msg"]
    assert "disks: [vda]" in entry["msg"]
    refused(vm, "disk_not_covered", vm.take, "s1", disks=("vdb",))
    vm.write("vda", 1)
    assert "encrypted" in left_out(taken(vm, "s1", on_uncovered="leave_out"))["vdb"]
    assert "encrypted" in {part["target"]: part["reason"] for part in vm.info()["snapshots"][0]["left_out"]}["vdb"]
    vm.write("vda", 2)
    reverted(vm, "s1")
    assert vm.disk_reads("vda", 1)
    removed(vm, "s1")
    toggle(vm, False)
    vm.start()


def test_an_encrypted_disk_with_an_overlay_of_others(make_vm: MakeVm, planted: Planted, secret: str) -> None:
    """What took it did it wrongly; a revert or merge of ours would spoil more."""
    vm = encrypted(make_vm, planted.host, secret, "luks", start=False)
    base, overlay = vm.active_file("vdb"), f"{IMAGES}/disksluks.vdb.old.qcow2"
    planted.host.run(f"qemu-img create -q -u -f qcow2 -b {base} -F raw {overlay} 16M")
    spec = f"--diskspec vda,snapshot=no --diskspec vdb,snapshot=external,file={overlay}"
    vm.virsh("snapshot-create-as", "old", "--disk-only", "--reuse-external", *spec.split())
    assert "encrypted" in refused(vm, "disk_not_covered", vm.revert, "old")["msg"]
    assert "encrypted" in refused(vm, "disk_not_covered", vm.remove, "old")["msg"]


@both
def test_a_slice_of_a_file(make_vm: MakeVm, planted: Planted, running: bool) -> None:
    vm = make_vm("disksslice", "vda", Disk("vdb", format="raw"))
    file = vm.active_file("vdb")
    planted.host.run(f"qemu-io -f raw -c 'write -P 1 0 1M' -c 'write -P 2 1M 16M' -c 'write -P 3 17M 1M' {file}")
    part = "<slices><slice type='storage' offset='1048576' size='16777216'/></slices>"
    vm.redefine(f"<source file='{file}'/>", f"<source file='{file}'>{part}</source>")
    toggle(vm, running)
    assert "slice" in refused(vm, "disk_not_covered", vm.take, "s1")["msg"]
    entry = taken(vm, "s1", on_uncovered="leave_out")
    assert (covered(entry), list(left_out(entry))) == (["vda"], ["vdb"])
    vm.write("vda", 4)
    reverted(vm, "s1")
    removed(vm, "s1")
    said = planted.host.run(
        f"qemu-io -r -U -f raw -c 'read -P 1 0 1M' -c 'read -P 2 1M 16M' -c 'read -P 3 17M 1M' {file}"
    ).stdout
    assert "failed" not in said
    assert part.replace(" ", "") in "".join(vm.xml(inactive=True).split())


def test_a_slice_with_an_overlay_of_others(make_vm: MakeVm, planted: Planted) -> None:
    vm = make_vm("disksslice", Disk("vda", format="raw"))
    file, overlay = vm.active_file("vda"), f"{IMAGES}/disksslice.vda.old.qcow2"
    part = "<slices><slice type='storage' offset='1048576' size='16777216'/></slices>"
    vm.redefine(f"<source file='{file}'/>", f"<source file='{file}'>{part}</source>")
    planted.host.run(f"qemu-img create -q -u -f qcow2 -b {file} -F raw {overlay} 16M")
    spec = f"--diskspec vda,snapshot=external,file={overlay}"
    vm.virsh("snapshot-create-as", "old", "--disk-only", "--reuse-external", *spec.split())
    assert "slice" in refused(vm, "disk_not_covered", vm.revert, "old")["msg"]
    assert "slice" in refused(vm, "disk_not_covered", vm.remove, "old")["msg"]


def test_data_in_another_file(make_vm: MakeVm, planted: Planted) -> None:
    vm = make_vm("disksdata", "vda", Disk("vdb"))
    file, data = vm.active_file("vdb"), f"{IMAGES}/disksdata-vdb.data"
    planted.host.run(f"rm -f {file}; qemu-img create -q -f qcow2 -o data_file={data} {file} 16M; chmod 666 {data}")
    vm.start()
    entry = refused(vm, "disk_not_covered", vm.take, "s1")
    assert "another file" in entry["msg"]
    assert "disks: [vda]" in entry["msg"]
    entry = taken(vm, "s1", on_uncovered="leave_out")
    assert (covered(entry), list(left_out(entry))) == (["vda"], ["vdb"])
    removed(vm, "s1")
