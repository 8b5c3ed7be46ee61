# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks as their definitions describe them, judged by the bytes on them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from contract.world import IMAGES
from lab.api import Host
from lab.host_table import FLEET

from .field import Disk, Entry, FieldVm, MakePool, MakeVm, agreed, create_image, make_pool, make_vm
from .planted import Planted, planted

__all__ = ("make_pool", "make_vm", "planted")

MIB = 1 << 20
KEPT_AS = "5c7b8a7e-2c0d-4a53-9a0b-0d1f8c2e7a11"
LUKS = f"<encryption format='luks'><secret type='passphrase' uuid='{KEPT_AS}'/></encryption>"


def left_out(entry: Entry) -> dict[str, str]:
    return {part["target"]: part["reason"] for part in entry["snapshot"]["left_out"]}


def covered(entry: Entry) -> list[str]:
    return [disk["target"] for disk in entry["snapshot"]["disks"]]


def well(entry: Entry) -> Entry:
    assert (entry["changed"], entry["error_code"]) == (True, None), entry["msg"]
    return entry


def taken(vm: FieldVm, name: str, **options: Any) -> Entry:
    """Take a snapshot as check mode says; return its entry."""
    told, done = agreed(vm.take, name, **options)
    assert (covered(told), left_out(told)) == (covered(done), left_out(done))
    return well(done)


def refused(vm: FieldVm, code: str, action: Any, *words: Any, **options: Any) -> Entry:
    """Assert that check mode and the run refuse alike, and that neither changes anything."""
    before = (vm.state, vm.xml(), vm.xml(inactive=True), vm.snapshots(), vm.files())
    _told, done = agreed(action, *words, **options)
    assert (done["error_code"], done["changed"]) == (code, False), done["msg"]
    assert (vm.state, vm.xml(), vm.xml(inactive=True), vm.snapshots(), vm.files()) == before
    return done


def reverted(vm: FieldVm, name: str, **options: Any) -> Entry:
    return well(agreed(vm.revert, name, **options)[1])


def removed(vm: FieldVm, name: str) -> Entry:
    return well(agreed(vm.remove, name)[1])


def toggle(vm: FieldVm, running: bool) -> None:
    if (vm.state == "running") is not running:
        vm.start() if running else vm.off()


def whole_life(vm: FieldVm, target: str, running: bool, **options: Any) -> None:
    """Take two, revert to the first, remove both; the disk reads what it should all the time."""
    toggle(vm, running)
    vm.write(target, 1)
    taken(vm, "s1", **options)
    vm.write(target, 2)
    well(vm.take("s2", **options))
    vm.write(target, 3)
    reverted(vm, "s1")
    assert vm.disk_reads(target, 1)
    vm.write(target, 4)
    removed(vm, "s1")
    assert vm.disk_reads(target, 4)
    vm.sound()
    well(vm.revert("s2"))
    assert vm.disk_reads(target, 2)
    vm.write(target, 5)
    well(vm.prune(keep_last=0))
    assert vm.snapshots() == []
    assert vm.disk_reads(target, 5)
    vm.sound()
    if not running:
        vm.start()
        assert vm.disk_reads(target, 5)


both = pytest.mark.parametrize("running", [True, False], ids=["running", "off"])


# What the definition says of snapshots


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


# Encrypted, a slice, a data store


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


# Block devices


class Device:
    """Loop devices of one host, behind links such as LVM makes; all hosts of the lab share one kernel's numbers."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._first = 200 + 20 * [spec.name for spec in FLEET].index(host.name)
        self._made: list[str] = []
        self.free()

    def make(self, name: str, size: int, folder: str = IMAGES) -> str:
        """Return the path of a new device, /dev/disksvg/NAME."""
        file, number = f"{folder}/{name}.device", self._first + len(self._made)
        self._made.append(file)
        self._host.run(
            f"truncate -s {size} {file}; [ -e /dev/loop{number} ] || mknod /dev/loop{number} b 7 {number}; "
            f"losetup /dev/loop{number} {file} && mkdir -p /dev/disksvg && ln -sfn ../loop{number} /dev/disksvg/{name}"
        )
        return f"/dev/disksvg/{name}"

    def renumber(self) -> None:
        """Give each device the number of another one, as a reboot may."""
        count = len(self._made)
        for index in range(count):
            self._host.run(f"losetup -d /dev/loop{self._first + index}")
        for index, file in enumerate(self._made):
            name, number = file.rpartition("/")[2][: -len(".device")], self._first + (index + 1) % count
            self._host.run(f"losetup /dev/loop{number} {file} && ln -sfn ../loop{number} /dev/disksvg/{name}")

    def free(self) -> None:
        numbers = range(self._first, self._first + 20)
        self._host.run("; ".join(f"losetup -d /dev/loop{number}" for number in numbers), check=False)
        self._host.run("rm -rf /dev/disksvg " + " ".join(self._made))


@pytest.fixture
def device(planted: Planted) -> Iterator[Device]:
    made = Device(planted.host)
    yield made
    made.free()


def on_device(path: str, target: str = "vda", image_format: str = "raw", attributes: str = "") -> Disk:
    element = f"""<disk type='block' device='disk' {attributes}><driver name='qemu' type='{image_format}'/>
      <source dev='{path}'/><target dev='{target}' bus='virtio'/></disk>"""
    return Disk(target, xml=element)


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


# Volumes of storage pools


def in_pool(pool: str, volume: str, target: str = "vda", image_format: str = "qcow2") -> Disk:
    element = f"""<disk type='volume' device='disk'><driver name='qemu' type='{image_format}'/>
      <source pool='{pool}' volume='{volume}'/><target dev='{target}' bus='virtio'/></disk>"""
    return Disk(target, xml=element)


@pytest.fixture
def pool(make_pool: MakePool, planted: Planted) -> Iterator[str]:
    make_pool("diskspool", "/srv/diskspool")
    yield "diskspool"
    planted.host.run("rm -rf /srv/diskspool")


def volume(host: Host, name: str, image_format: str = "qcow2") -> None:
    host.virsh("vol-create-as", "diskspool", name, "32M", "--format", image_format)


@pytest.mark.parametrize(
    ("image_format", "running"), [("qcow2", True), ("raw", False)], ids=["qcow2-running", "raw-off"]
)
def test_a_volume_of_a_pool_lives_as_a_file_does(
    make_vm: MakeVm, planted: Planted, pool: str, image_format: str, running: bool
) -> None:
    volume(planted.host, "v1.img", image_format)
    vm = make_vm("disksvol", in_pool(pool, "v1.img", image_format=image_format), directories=("/srv/diskspool",))
    layers = vm.info()["chains"][0]["layers"]
    assert [layer["file"] for layer in layers] == ["/srv/diskspool/v1.img"]
    whole_life(vm, "vda", running)
    assert vm.active_file("vda") == "/srv/diskspool/v1.img"


def test_a_volume_beside_stays_a_volume(make_vm: MakeVm, planted: Planted, pool: str) -> None:
    """What is defined anew by us names the other disk as it was named."""
    volume(planted.host, "v2.img")
    vm = make_vm("disksvol2", "vda", in_pool(pool, "v2.img", "vdb"))
    taken(vm, "s1", disks=("vda",))
    vm.write("vda", 4)
    reverted(vm, "s1")
    removed(vm, "s1")
    xml = vm.xml(inactive=True)
    assert "volume='v2.img'" in xml
    assert "resolved" not in xml


def test_a_volume_of_a_pool_that_is_not_active(make_vm: MakeVm, planted: Planted, pool: str) -> None:
    volume(planted.host, "v3.img")
    vm = make_vm("disksvol3", "vda", in_pool(pool, "v3.img", "vdb"), directories=("/srv/diskspool",))
    taken(vm, "s1")
    vm.write("vdb", 2)
    planted.host.virsh("pool-destroy", pool)
    assert f"virsh pool-start {pool}" in refused(vm, "volume_not_found", vm.revert, "s1")["msg"]
    assert f"virsh pool-start {pool}" in refused(vm, "volume_not_found", vm.remove, "s1")["msg"]
    planted.host.virsh("pool-start", pool)
    reverted(vm, "s1")
    removed(vm, "s1")
    before, found, after = vm.xml(inactive=True).rpartition("<disk type='file'")  # on the volume again
    after = after.replace("<source file='/srv/diskspool/v3.img'/>", f"<source pool='{pool}' volume='v3.img'/>")
    vm.define(before + found.replace("file", "volume") + after)
    planted.host.virsh("pool-destroy", pool)
    assert f"virsh pool-start {pool}" in vm.info()["problems"][0]
    assert f"virsh pool-start {pool}" in refused(vm, "disk_not_covered", vm.take, "s2")["msg"]
    assert "pool-start" in left_out(taken(vm, "s2", on_uncovered="leave_out"))["vdb"]
    removed(vm, "s2")
    planted.host.virsh("pool-start", pool)
    assert covered(taken(vm, "s3")) == ["vda", "vdb"]
    vm.start()


# Paths as the kernel resolves them


@both
def test_a_path_through_a_symbolic_link(make_vm: MakeVm, planted: Planted, running: bool) -> None:
    planted.host.run(
        "rm -rf /srv/diskslink /srv/diskslinked; mkdir -p /srv/diskslinked/pool/vm /srv/diskslinked/pool/base"
    )
    planted.host.run("ln -s /srv/diskslinked/pool/vm /srv/diskslink")
    base = create_image(planted.host, "/srv/diskslinked/pool/base/x.qcow2")
    planted.host.run(f"qemu-io -c 'write -P 1 0 64k' {base}")
    top = "/srv/diskslink/diskslink.qcow2"
    vm = make_vm("diskslink", Disk("vda", file=top, backing="../base/x.qcow2"), directory="/srv/diskslink")
    assert vm.disk_reads("vda", 1)
    whole_life(vm, "vda", running)
    assert vm.reads(base, 1)
    vm.wipe()
    planted.host.run("rm -rf /srv/diskslink /srv/diskslinked")


def test_an_image_that_is_a_link_itself(make_vm: MakeVm, planted: Planted) -> None:
    """QEMU looks for a relative backing file beside the link, and not beside what that leads to."""
    host = planted.host
    host.run("rm -rf /srv/disksalias /srv/disksreal; mkdir -p /srv/disksalias /srv/disksreal")
    for where, pattern in (("alias", 1), ("real", 2)):
        host.run(f"qemu-io -c 'write -P {pattern} 0 64k' {create_image(host, f'/srv/disks{where}/base.qcow2')}")
    host.run("cd /srv/disksreal && qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 real.qcow2")
    host.run("ln -s /srv/disksreal/real.qcow2 /srv/disksalias/top.qcow2")
    top = "/srv/disksalias/top.qcow2"
    vm = make_vm("disksalias", Disk("vda", file=top, size=""), directory="/srv/disksalias", start=True)
    assert vm.disk_reads("vda", 1)
    taken(vm, "s1", overlay_dir="/srv/disksalias")
    vm.sound()
    vm.write("vda", 3)
    reverted(vm, "s1")
    assert vm.disk_reads("vda", 1)
    vm.wipe()
    host.run("rm -rf /srv/disksalias /srv/disksreal")


# A lowest layer that is no file of this host


NBD_PORT = 10941
REMOTE = {
    "url": f"nbd://127.0.0.1:{NBD_PORT}/exp",
    "json": 'json:{"driver":"raw","file":{"driver":"nbd","server":{"type":"inet","host":"127.0.0.1","port":"'
    + str(NBD_PORT)
    + '"},"export":"exp"}}',
}


@pytest.fixture
def remote(planted: Planted) -> Iterator[str]:
    """An image full of 7 that is served on the host itself."""
    host, file = planted.host, f"{IMAGES}/disks-remote.raw"
    host.run(f"qemu-img create -q -f raw {file} 16M && qemu-io -f raw -c 'write -P 7 0 16M' {file}")
    host.run("kill $(cat /run/disks-nbd.pid)", check=False)
    serve = f"qemu-nbd -t -p {NBD_PORT} -b 127.0.0.1 -x exp -f raw -e 16 --fork --pid-file /run/disks-nbd.pid {file}"
    host.run(serve + " </dev/null >/dev/null 2>&1")
    yield file
    host.run(f"kill $(cat /run/disks-nbd.pid); rm -f {file}")


@pytest.mark.parametrize(("kind", "running"), [("url", True), ("json", False)], ids=["url-running", "json-off"])
def test_a_remote_lowest_layer(make_vm: MakeVm, planted: Planted, remote: str, kind: str, running: bool) -> None:
    host, file = planted.host, f"{IMAGES}/disksremote.qcow2"
    digest = host.run(["sha256sum", remote]).stdout
    vm = make_vm("disksremote", Disk("vda", file=file, size=""))
    host.run(["qemu-img", "create", "-q", "-u", "-f", "qcow2", "-b", REMOTE[kind], "-F", "raw", file, "16M"])
    assert vm.disk_reads("vda", 7)
    layers = vm.info()["chains"][0]["layers"]
    assert [layer["file"] for layer in layers][:1] == [file]
    assert "127.0.0.1" in layers[1]["file"]
    whole_life(vm, "vda", running)
    assert vm.disk_reads("vda", 5)
    assert vm.active_file("vda") == file
    assert host.run(["sha256sum", remote]).stdout == digest


def test_a_remote_disk_of_which_others_took_a_snapshot(make_vm: MakeVm, planted: Planted, remote: str) -> None:
    host, overlay = planted.host, f"{IMAGES}/disksnet.vdb.old.qcow2"
    digest = host.run(["sha256sum", remote]).stdout
    element = f"""<disk type='network' device='disk'><driver name='qemu' type='raw'/><source protocol='nbd' name='exp'>
      <host name='127.0.0.1' port='{NBD_PORT}'/></source><target dev='vdb' bus='virtio'/></disk>"""
    vm = make_vm("disksnet", "vda", Disk("vdb", xml=element), start=True)
    assert "network" in refused(vm, "disk_not_covered", vm.take, "s1")["msg"]
    assert "network" in left_out(taken(vm, "s1", on_uncovered="leave_out"))["vdb"]
    removed(vm, "s1")
    spec = f"--diskspec vda,snapshot=external,file={IMAGES}/disksnet.old.qcow2 --diskspec vdb,snapshot=external,file={overlay}"
    vm.virsh("snapshot-create-as", "old", "--disk-only", *spec.split())
    vm.write("vdb", 8)
    refused(vm, "disks_changed", vm.revert, "old")
    taken(vm, "s2")
    vm.write("vdb", 9)
    reverted(vm, "s2")
    assert vm.disk_reads("vdb", 8)
    vm.write("vdb", 10)
    removed(vm, "s2")
    entry = removed(vm, "old")
    assert any("vdb" in note and "never written to" in note for note in entry["notes"]), entry["notes"]
    assert vm.active_file("vdb") == overlay
    assert vm.disk_reads("vdb", 10)
    assert host.run(["sha256sum", remote]).stdout == digest


@pytest.mark.parametrize(
    ("text", "running"),
    [
        ('json:{{"driver":"qcow2","file":{{"driver":"file","filename":"{}"}}}}', True),
        ('json:{{"file.filename":"{}","driver":"qcow2","file.driver":"file"}}', False),
        ("file:{}", False),
    ],
    ids=["json-running", "flat-off", "file-off"],
)
def test_a_local_layer_named_in_another_way(make_vm: MakeVm, planted: Planted, text: str, running: bool) -> None:
    """Libvirt does not understand these strings itself, and starts the VM where its definition has the layer."""
    host, base, file = planted.host, f"{IMAGES}/disksjson-base.qcow2", f"{IMAGES}/disksjson.qcow2"
    element = f"""<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{file}'/>
      <backingStore type='file'><format type='qcow2'/><source file='{base}'/><backingStore/></backingStore>
      <target dev='vda' bus='virtio'/></disk>"""
    vm = make_vm("disksjson", Disk("vda", xml=element))
    host.run(f"qemu-io -c 'write -P 1 0 64k' {create_image(host, base)}")
    host.run(["qemu-img", "create", "-q", "-u", "-f", "qcow2", "-b", text.format(base), "-F", "qcow2", file, "64M"])
    toggle(vm, running)
    assert [layer["file"] for layer in vm.info()["chains"][0]["layers"]] == [file, base]
    taken(vm, "s1")
    vm.sound()
    vm.write("vda", 2)
    if running:
        removed(vm, "s1")
    else:
        reverted(vm, "s1")
        assert vm.disk_reads("vda", 1)
        vm.write("vda", 2)
        removed(vm, "s1")
    assert vm.disk_reads("vda", 2)
    assert vm.reads(base, 1)
    vm.sound()


# What is no disk


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


# VMs without what a snapshot could hold


def test_a_vm_without_disks(make_vm: MakeVm) -> None:
    cdrom = "<disk type='file' device='cdrom'><target dev='sda' bus='sata'/><readonly/></disk>"
    vm = make_vm("disksnone", Disk("sda", xml=cdrom), start=True)
    for options in ({}, {"on_uncovered": "leave_out"}, {"include_memory": True}):
        _told, done = agreed(vm.take, "s1", **options)
        assert (done["error_code"], done["changed"]) == (None, False), done["msg"]
        assert any("empty drive" in note for note in done["notes"]), done["notes"]
    vm.off()
    assert agreed(vm.take, "s1")[1]["error_code"] is None


# A disk that has another size now


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
