# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks that a VM no longer has: their overlays alone have their newest data, and are kept."""

from __future__ import annotations

import pytest

from .field import MakeVm, agreed, make_vm
from .field_disk import Disk, create_image
from .field_vm import Entry, FieldVm
from .guest import wait_for
from .other_users import HOME, REMOVALS, digest, filled, home, names, rest_is_removed, told, well
from .planted import planted

__all__ = ("home", "make_vm", "planted")


def detached(make_vm: MakeVm) -> tuple[FieldVm, str]:
    """Return a VM that is off and lost its vdb after s1, and the file on which that was."""
    vm = filled(make_vm("fuweb", "vda", "vdb", directory=HOME, start=True), "vda", "vdb")
    overlay = vm.active_file("vdb")
    vm.off()
    vm.virsh("detach-disk", "vdb", "--config")
    return vm, overlay


def kept(vm: FieldVm, entry: Entry, file: str) -> None:
    """Assert that a run went well, left a file that has 42, and said so; and that info tells of it from now on."""
    well(entry)
    assert vm.reads(file, 42), f"{file} is gone or spoilt: {entry['msg']}"
    assert file not in entry["files_removed"], entry
    assert names(entry["notes"], file), entry["notes"]
    info = vm.info()
    assert file in [one["file"] for one in info["kept"]], info


@pytest.mark.parametrize("how", REMOVALS)
def test_a_detached_disk_is_kept(make_vm: MakeVm, how: str) -> None:
    vm, overlay = detached(make_vm)
    below = digest(vm.host, f"{HOME}/fuweb-vdb.qcow2")
    kept(vm, agreed(REMOVALS[how](vm))[1], overlay)
    rest_is_removed(vm)
    assert digest(vm.host, f"{HOME}/fuweb-vdb.qcow2") == below
    agreed(vm.prune, orphans=True)
    assert vm.reads(overlay, 42), "somebody would miss it: it is no orphan"


def test_a_detached_disk_is_kept_when_the_vm_goes_back(make_vm: MakeVm) -> None:
    vm, overlay = detached(make_vm)
    well(vm.take("s2"))
    vm.write("vda", 43)
    well(agreed(vm.revert, "s2")[1])
    assert vm.disk_reads("vda", 42)
    assert vm.reads(overlay, 42), f"{overlay} is gone or spoilt"
    entry = agreed(vm.remove, all_snapshots=True)[1]
    kept(vm, entry, overlay)
    rest_is_removed(vm)


def test_a_detached_disk_is_kept_when_the_vm_goes_back_to_a_snapshot_without_it(make_vm: MakeVm) -> None:
    vm = make_vm("fuweb", "vda", "vdb", directory=HOME, start=True)
    vm.write("vda", 1)
    well(vm.take("s0", disks=["vda"]))
    filled(vm, "vda", "vdb")
    overlay = vm.active_file("vdb")
    vm.off()
    vm.virsh("detach-disk", "vdb", "--config")
    entry = agreed(vm.revert, "s0")[1]
    assert vm.reads(overlay, 42), f"{overlay} is gone or spoilt: {entry['msg']}"
    assert not names([*entry["files_removed"]], overlay), entry
    if entry["error_code"] is None:
        assert vm.disk_reads("vda", 1)
        assert names(entry["notes"], overlay), entry["notes"]


@pytest.mark.parametrize("power", ["off", "running"])
def test_a_detached_disk_that_another_vm_has_now(make_vm: MakeVm, power: str) -> None:
    vm, overlay = detached(make_vm)
    other = make_vm("fuother", Disk("vda", file=overlay, size=""), directory=HOME, start=power == "running")
    kept(vm, agreed(vm.remove, "s1")[1], overlay)
    rest_is_removed(vm)
    assert other.disk_reads("vda", 42)
    other.write("vda", 43)
    assert other.disk_reads("vda", 43)


def test_a_disk_detached_from_a_running_vm(make_vm: MakeVm) -> None:
    """A SCSI disk goes without a word from the guest, and there is none here."""
    file = f"{HOME}/fuweb-sdb.qcow2"
    disk = f"""
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2'/>
      <source file='{file}'/>
      <target dev='sdb' bus='scsi'/>
    </disk>
    <controller type='scsi' model='virtio-scsi'/>"""
    vm = filled(make_vm("fuweb", "vda", Disk("sdb", file=file, xml=disk), directory=HOME), "vda", "sdb")
    overlay = vm.active_file("sdb")
    vm.start()
    vm.virsh("detach-disk", "sdb", "--live", "--config")
    assert overlay not in vm.xml(), "it does not go"
    kept(vm, agreed(vm.remove, "s1")[1], overlay)
    assert vm.state == "running"
    rest_is_removed(vm)


def test_a_detached_disk_that_somebody_reads(make_vm: MakeVm) -> None:
    vm, overlay = detached(make_vm)
    # Without --fork: QEMU 5.2 keeps what it should close then, and ssh waits for that.
    command = f"qemu-nbd -r -t -k {HOME}/nbd -f qcow2 {overlay}"
    pid = vm.host.run(f"setsid {command} >/dev/null 2>&1 </dev/null & echo $!").stdout.strip()
    wait_for("the server", lambda: vm.exists(f"{HOME}/nbd"))
    try:
        kept(vm, agreed(vm.remove, "s1")[1], overlay)
        rest_is_removed(vm)
    finally:
        vm.host.run(["kill", pid])


@pytest.mark.parametrize("tool", ["ours", "virsh"])
def test_an_overlay_that_the_vm_has_left_for_another_of_the_same_image(make_vm: MakeVm, tool: str) -> None:
    """Somebody puts the disk on an overlay of their own: nobody was told yet that this one has what was written last."""
    vm = filled(make_vm("fuweb", "vda", directory=HOME))
    if tool == "virsh":
        spec = f"vda,file={HOME}/of-virsh.qcow2"
        vm.host.run(["virsh", "snapshot-create-as", vm.name, "v1", "--disk-only", "--atomic", "--diskspec", spec])
        vm.write("vda", 42)
    newest = vm.active_file("vda")
    own = create_image(vm.host, f"{HOME}/own.qcow2", backing=f"{HOME}/fuweb.qcow2")
    vm.redefine(newest, own)
    told(vm, newest)
    entry = well(agreed(vm.revert, "s1")[1])
    assert vm.reads(newest, 42), entry["msg"]
    assert names(entry["notes"], newest, "is kept")
    well(vm.take("s2"))
    well(agreed(vm.remove, "s1")[1])
    well(agreed(vm.remove, "s2")[1])
    assert vm.reads(newest, 42)
    told(vm, newest)
    if tool == "virsh":
        well(agreed(vm.remove, "v1")[1])
        assert vm.reads(newest, 42)
    assert newest in well(agreed(vm.prune, detached=True)[1])["orphans_removed"]
    assert vm.info()["kept"] == []


_ANEW = """
set -e; cd {home}
virsh dumpxml --inactive {vm} >vm.xml
for one in s1 s2; do virsh snapshot-dumpxml {vm} $one --security-info >$one.xml; done
old=$(virsh domuuid {vm}); virsh undefine {vm} --snapshots-metadata
sed -i "s/$old/$(cat /proc/sys/kernel/random/uuid)/" vm.xml s1.xml s2.xml
virsh define vm.xml; virsh snapshot-create {vm} s1.xml --redefine; virsh snapshot-create {vm} s2.xml --redefine --current
"""


@pytest.mark.parametrize("pulled", [True, False], ids=["pulled", "as it was"])
def test_a_detached_disk_of_a_vm_that_was_created_anew_is_no_orphan(make_vm: MakeVm, pulled: bool) -> None:
    """Its record has another UUID, and a snapshot whose overlay took all below it is told of in another way."""
    vm = filled(make_vm("fuweb", "vda", "vdb", directory=HOME), "vda", "vdb")
    well(vm.take("s2"))
    vm.write("vdb", 43)
    newest = vm.active_file("vdb")
    vm.host.run(["virsh", "detach-disk", vm.name, "vdb", "--config"])
    vm.host.run(_ANEW.format(home=HOME, vm=vm.name))
    if pulled:
        vm.host.run(["virsh", "start", vm.name])
        vm.host.run(["virsh", "blockpull", vm.name, "vda", "--wait"])
    well(agreed(vm.remove, "s1")[1])
    assert vm.reads(newest, 43)
    assert agreed(vm.prune, keep_last=3, orphans=True)[1]["error_code"] is None
    assert vm.reads(newest, 43)
    info = vm.info()
    assert newest in [*info["unknown_overlays"], *(one["file"] for one in info["kept"])], info


@pytest.mark.parametrize("replaced", [False, True], ids=["nothing in its place", "another disk in its place"])
def test_an_overlay_of_a_disk_that_a_vm_created_anew_does_not_have_is_no_orphan(
    make_vm: MakeVm, replaced: bool
) -> None:
    """No snapshot names it any more, and it is based on what a snapshot names."""
    vm = filled(make_vm("fuweb", "vda", "vdb", directory=HOME), "vda", "vdb")
    well(vm.take("s2"))
    vm.write("vdb", 43)
    newest = vm.active_file("vdb")
    vm.host.run(["virsh", "detach-disk", vm.name, "vdb", "--config"])
    vm.host.run(_ANEW.format(home=HOME, vm=vm.name))
    vm.host.run(["virsh", "snapshot-delete", vm.name, "s2", "--metadata"])
    if replaced:
        other = create_image(vm.host, f"{HOME}/other.qcow2")
        words = ["--driver", "qemu", "--subdriver", "qcow2", "--config"]
        vm.host.run(["virsh", "attach-disk", vm.name, other, "vdb", *words])
    info = vm.info()
    assert newest in info["unknown_overlays"]
    assert newest not in info["orphans"]
    assert newest not in agreed(vm.prune, orphans=True)[1]["orphans_removed"]
    assert vm.reads(newest, 43)


def test_an_overlay_that_was_kept_stays_when_its_disk_comes_back(make_vm: MakeVm) -> None:
    """The VM is put on a copy, back on the first image, and on the copy again: what was said to be kept is kept."""
    vm = filled(make_vm("fuweb", "vda", directory=HOME))
    base, overlay, copy = f"{HOME}/fuweb.qcow2", vm.active_file("vda"), f"{HOME}/copy"
    vm.host.run(f"mkdir {copy} && cp -a {base} {copy}/base && cp -a {overlay} {copy}/top")
    vm.host.run(f"qemu-img rebase -u -f qcow2 -b {copy}/base -F qcow2 {copy}/top")
    vm.redefine(overlay, f"{copy}/top")
    well(vm.take("s2"))
    vm.write("vda", 43)
    newest = vm.active_file("vda")
    vm.redefine(newest, create_image(vm.host, f"{HOME}/first.qcow2", backing=base))
    assert names(well(agreed(vm.revert, "s1")[1])["notes"], newest, "is kept")
    vm.redefine(vm.active_file("vda"), create_image(vm.host, f"{HOME}/again.qcow2", backing=f"{copy}/top"))
    entry = well(agreed(vm.revert, "s2")[1])
    assert vm.reads(newest, 43), entry["msg"]
    told(vm, newest)
    vm.redefine(vm.active_file("vda"), newest)  # with the command that info gives, and it is an overlay like any other
    assert newest not in [one["file"] for one in vm.info()["kept"]]
    assert newest in well(agreed(vm.revert, "s2")[1])["files_removed"]


@pytest.mark.parametrize("back", ["by a revert", "by an old definition"])
def test_an_overlay_that_took_all_below_it_is_named_when_the_vm_has_left_it(make_vm: MakeVm, back: str) -> None:
    """No header leads to it or from it any more, and it may have what was written last."""
    vm = make_vm("fuweb", "vda", directory=HOME, start=True)
    saved = vm.xml(inactive=True)
    filled(vm)
    overlay = vm.active_file("vda")
    vm.host.run(["virsh", "blockpull", vm.name, "vda", "--wait"])
    if back == "by a revert":
        assert names(well(agreed(vm.revert, "s1")[1])["notes"], overlay)
    well(agreed(vm.remove, "s1")[1])
    vm.off()
    if back == "by an old definition":
        assert vm.info()["kept"] == []
        vm.define(saved)
    assert vm.reads(overlay, 42)
    (kept,) = vm.info()["kept"]
    assert (kept["file"], kept["target"], kept["why"]) == (overlay, "vda", "detached")
    assert agreed(vm.prune, orphans=True)[1]["orphans_removed"] == []
    if back == "by an old definition":  # which of the two is right nobody has said
        assert vm.info()["definition_changed"] == ["vda"]
        assert agreed(vm.prune, detached=True)[1]["orphans_removed"] == []
        assert vm.reads(overlay, 42)
        return
    assert agreed(vm.prune, detached=True)[1]["orphans_removed"] == [overlay]
    assert not vm.exists(overlay)
