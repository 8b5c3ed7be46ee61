# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who else needs a layer: disks that were detached, definitions brought back, clones in pools, VMs created anew.

Whatever is written nowhere else is still there afterwards, and somebody was told.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, Callable

import pytest
from lab.api import Host

from .field import Disk, Entry, FieldVm, MakePool, MakeVm, agreed, create_image, make_pool, make_vm
from .guest import wait_for
from .planted import Planted, planted

__all__ = ("make_pool", "make_vm", "planted")

HOME = "/srv/fu"  # nothing of these VMs lies anywhere else
POOL, POOL_HOME = "fupool", f"{HOME}/pool"
Action = Callable[..., Entry]


@pytest.fixture(autouse=True)
def home(planted: Planted) -> Iterator[None]:
    planted.host.run(f"rm -rf {HOME}; mkdir -p {HOME}")
    yield
    planted.host.run(f"rm -rf {HOME}")


def names(texts: Iterable[str], *words: str) -> bool:
    """Whether one of the texts has all these words in it."""
    return any(all(word in text for word in words) for text in texts)


def digest(host: Host, file: str) -> str:
    return host.run(["sha256sum", file]).stdout.split()[0]


def well(entry: Entry) -> Entry:
    assert (entry["changed"], entry["error_code"]) == (True, None), entry["msg"]
    return entry


def filled(vm: FieldVm, *targets: str) -> FieldVm:
    """Return a VM whose disks have 1, then a snapshot s1, then 42; it is as it was before, running or off."""
    for target in targets or ("vda",):
        vm.write(target, 1)
    well(vm.take("s1"))
    for target in targets or ("vda",):
        vm.write(target, 42)
    return vm


# A disk was detached after its snapshot: its overlay alone has its newest data

REMOVALS: dict[str, Callable[[FieldVm], Action]] = {
    "absent": lambda vm: partial(vm.remove, "s1"),
    "absent, all": lambda vm: partial(vm.remove, all_snapshots=True),
    "prune": lambda vm: partial(vm.prune, keep_last=0),
    "prune, orphans too": lambda vm: partial(vm.prune, keep_last=0, orphans=True),
}


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


def rest_is_removed(vm: FieldVm) -> None:
    assert vm.snapshots() == []
    assert vm.active_file("vda") == f"{HOME}/fuweb.qcow2"
    assert vm.disk_reads("vda", 42)
    assert not names(vm.files(), ".vda.")


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


@pytest.mark.parametrize("name", ["the overlay", "the image under it"])
def test_a_layer_that_somebody_reads_is_refused_before_anything(make_vm: MakeVm, name: str) -> None:
    vm = filled(make_vm("fuweb", "vda", directory=HOME))
    overlay = vm.active_file("vda")
    file = overlay if name == "the overlay" else f"{HOME}/fuweb.qcow2"
    command = f"qemu-nbd -r -t -k {HOME}/nbd -f qcow2 {file}"
    pid = vm.host.run(f"setsid {command} >/dev/null 2>&1 </dev/null & echo $!").stdout.strip()
    wait_for("the server", lambda: vm.exists(f"{HOME}/nbd"))
    try:
        entry = agreed(vm.remove, "s1")[1]
        assert (entry["error_code"], entry["changed"]) == ("file_in_use", False), entry["msg"]
        assert pid in entry["msg"]
        assert vm.snapshots() == ["s1"]
    finally:
        vm.host.run(["kill", pid])
    wait_for("its end", lambda: vm.host.run(["kill", "-0", pid], check=False).returncode != 0)
    well(agreed(vm.remove, "s1")[1])
    rest_is_removed(vm)


# A definition of before the snapshot came back: what was written since is on no disk of the VM any more

CHANGES: dict[str, Callable[[FieldVm], Action]] = {
    "take": lambda vm: partial(vm.take, "s2"),
    "revert": lambda vm: partial(vm.revert, "s1"),
    "revert and keep": lambda vm: partial(vm.revert, "s1", keep_current=True),
    **REMOVALS,
}


def refused(vm: FieldVm, action: Action, overlay: str) -> None:
    """Assert that check mode and the run refuse, for the VM is not on this overlay, and that nothing has changed."""
    before = (vm.files(), vm.snapshots(), vm.xml(inactive=True))
    entry = agreed(action)[1]
    assert vm.reads(overlay, 42), f"{overlay} is gone or spoilt: {entry['msg']}"
    assert (entry["error_code"], entry["changed"]) == ("definition_changed", False), entry["msg"]
    assert overlay in entry["msg"], entry["msg"]
    assert (vm.files(), vm.snapshots(), vm.xml(inactive=True)) == before


def told(vm: FieldVm, file: str) -> None:
    info = vm.info()
    assert names([*info["problems"], *(one["file"] for one in info["kept"])], file), info


@pytest.mark.parametrize("how", CHANGES)
def test_a_definition_of_before_the_snapshot(make_vm: MakeVm, how: str) -> None:
    vm = make_vm("fuweb", "vda", "vdb", directory=HOME, start=True)
    saved = vm.xml(inactive=True)
    filled(vm, "vda", "vdb")
    overlays = [vm.active_file(target) for target in ("vda", "vdb")]
    vm.off()
    vm.define(saved)
    refused(vm, CHANGES[how](vm), overlays[0])
    assert vm.reads(overlays[1], 42)
    for overlay in overlays:
        told(vm, overlay)


def test_a_definition_of_before_the_snapshot_put_right_again(make_vm: MakeVm) -> None:
    vm = make_vm("fuweb", "vda", directory=HOME, start=True)
    saved = vm.xml(inactive=True)
    filled(vm)
    overlay, right = vm.active_file("vda"), vm.xml(inactive=True)
    vm.off()
    vm.define(saved)
    refused(vm, partial(vm.remove, "s1"), overlay)
    vm.define(right)
    vm.sound()
    well(agreed(vm.remove, "s1")[1])
    rest_is_removed(vm)


def test_a_definition_in_which_one_disk_is_of_before_the_snapshot(make_vm: MakeVm) -> None:
    vm = filled(make_vm("fuweb", "vda", "vdb", directory=HOME, start=True), "vda", "vdb")
    overlay = vm.active_file("vdb")
    vm.off()
    vm.redefine(overlay, f"{HOME}/fuweb-vdb.qcow2")
    told(vm, overlay)
    refused(vm, partial(vm.remove, "s1"), overlay)


@pytest.mark.parametrize("how", CHANGES)
def test_a_definition_of_before_a_revert(make_vm: MakeVm, how: str) -> None:
    """The overlay of before the revert is there still, since a clone is based on it; the newest data is on the other branch."""
    vm = filled(make_vm("fuweb", "vda", directory=HOME, start=True))
    vm.off()
    saved, before = vm.xml(inactive=True), vm.active_file("vda")
    clone = create_image(vm.host, f"{HOME}/clone.qcow2", backing=before)
    well(vm.revert("s1"))
    vm.write("vda", 42)
    overlay, right = vm.active_file("vda"), vm.xml(inactive=True)
    assert overlay != before
    vm.define(saved)
    refused(vm, CHANGES[how](vm), overlay)
    told(vm, overlay)
    assert vm.info()["definition_changed"] == ["vda"]
    vm.define(right)
    well(agreed(vm.remove, "s1")[1])
    assert vm.disk_reads("vda", 42)
    assert vm.reads(clone, 42)


def test_a_prune_deletes_nothing_while_nobody_has_said_which_image_is_the_newest(make_vm: MakeVm) -> None:
    vm = filled(make_vm("fuweb", "vda", directory=HOME))
    saved, before = vm.xml(inactive=True), vm.active_file("vda")
    create_image(vm.host, f"{HOME}/clone.qcow2", backing=before)
    well(vm.revert("s1"))
    vm.write("vda", 42)
    overlay = vm.active_file("vda")
    vm.host.run(["virsh", "snapshot-delete", vm.name, "s1", "--metadata"])  # nothing names the overlay now
    vm.define(saved)
    told(vm, overlay)
    assert vm.info()["definition_changed"] == ["vda"]
    assert agreed(vm.prune, detached=True, orphans=True)[1]["orphans_removed"] == []
    assert vm.reads(overlay, 42)


def test_an_orphan_on_which_somebody_elses_overlay_is_based(make_vm: MakeVm) -> None:
    vm, overlays, _saved = left_by_another(make_vm, "s1")
    clone = create_image(vm.host, f"{HOME}/clone.qcow2", backing=overlays[-1])
    vm.define()
    assert vm.info()["orphans"] == []
    entry = agreed(vm.prune, orphans=True)[1]
    assert (entry["error_code"], entry["orphans_removed"]) == (None, [])
    assert vm.reads(clone, 42)
    notes = [note for note in well(vm.take("s2"))["notes"] if overlays[-1] in note]
    assert notes
    assert not names(notes, "orphans: true"), "it is told to run what deletes nothing"
    assert names(notes, "may need them"), notes


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
    assert agreed(vm.prune, detached=True)[1]["orphans_removed"] == [overlay]
    assert not vm.exists(overlay)


def test_a_definition_of_between_two_snapshots(make_vm: MakeVm) -> None:
    vm = make_vm("fuweb", "vda", directory=HOME, start=True)
    well(vm.take("s1"))
    vm.write("vda", 41)
    saved = vm.xml(inactive=True)
    well(vm.take("s2"))
    vm.write("vda", 42)
    overlay = vm.active_file("vda")
    vm.off()
    vm.define(saved)
    told(vm, overlay)
    for action in (partial(vm.remove, "s2"), partial(vm.remove, "s1"), partial(vm.revert, "s1")):
        refused(vm, action, overlay)


@pytest.mark.parametrize("how", ["absent", "take", "prune"])
def test_a_definition_that_comes_back_while_the_vm_runs(make_vm: MakeVm, how: str) -> None:
    """Then libvirt itself still knows what the VM runs on; its next start must not lose that."""
    vm = make_vm("fuweb", "vda", directory=HOME, start=True)
    saved = vm.xml(inactive=True)
    filled(vm)
    overlay = vm.active_file("vda")
    vm.define(saved)
    told(vm, overlay)
    entry = agreed(CHANGES[how](vm))[1]
    assert vm.disk_reads("vda", 42), entry["msg"]
    if entry["error_code"] is None:
        vm.off()
        assert vm.disk_reads("vda", 42), f"the next start loses it: {entry['msg']}"
    else:
        assert (entry["error_code"], entry["changed"]) == ("definition_changed", False), entry["msg"]


@pytest.mark.parametrize("how", REMOVALS)
def test_a_disk_whose_image_was_exchanged(make_vm: MakeVm, how: str) -> None:
    """As after a restore from a backup to another file: what the old one held may be all there is of the last hours."""
    vm = filled(make_vm("fuweb", "vda", directory=HOME))
    overlay = vm.active_file("vda")
    vm.redefine(overlay, create_image(vm.host, f"{HOME}/restored.qcow2"))
    entry = agreed(REMOVALS[how](vm))[1]
    assert vm.reads(overlay, 42), f"{overlay} is gone or spoilt: {entry['msg']}"
    assert entry["error_code"] in {None, "definition_changed"}, entry["msg"]
    assert names([entry["msg"], *entry["notes"]], overlay), entry
    told(vm, overlay)


# Clones that a VM has as volumes of a pool

POOL_STATES = ["active", "inactive"]


def volume(name: str, *, backing: str = "", image_format: str = "qcow2", target: str = "vda") -> Disk:
    """Return a disk that names an image of the pool as its volume."""
    xml = f"""
    <disk type='volume' device='disk'>
      <driver name='qemu' type='{image_format}'/>
      <source pool='{POOL}' volume='{name}'/>
      <target dev='{target}' bus='virtio'/>
    </disk>"""
    return Disk(target, file=f"{POOL_HOME}/{name}", format=image_format, backing=backing, xml=xml)


def template(make_vm: MakeVm, directory: str) -> FieldVm:
    """Return a VM with an image of which clones are made; its content is 1."""
    vm = make_vm("futmpl", "vda", directory=directory)
    vm.write("vda", 1)
    return vm


def app(make_vm: MakeVm, *disks: Disk, power: str = "off") -> FieldVm:
    """Return a VM on volumes; the pool knows them."""
    vm = make_vm("fuapp", *disks, directory=POOL_HOME)
    vm.host.virsh("pool-refresh", POOL)
    if power == "running":
        vm.start()
    return vm


@pytest.mark.parametrize("power", ["off", "running"])
def test_a_clone_that_is_another_vms_volume_is_no_orphan(make_vm: MakeVm, make_pool: MakePool, power: str) -> None:
    make_pool(POOL, POOL_HOME)
    vm = template(make_vm, POOL_HOME)
    clone = app(make_vm, volume("clone.qcow2", backing=f"{POOL_HOME}/futmpl.qcow2"), power=power)
    no_orphan(vm, f"{POOL_HOME}/clone.qcow2")
    assert clone.disk_reads("vda", 1)


def no_orphan(vm: FieldVm, *files: str) -> None:
    info, entry = vm.info(), agreed(vm.prune, orphans=True)[1]
    gone = [file for file in files if not vm.exists(file)]
    assert not gone, f"deleted: {entry['msg']}"
    assert (entry["changed"], entry["error_code"], entry["orphans_removed"]) == (False, None, []), entry["msg"]
    assert not set(files).intersection(info["orphans"]), info["orphans"]


def test_a_clone_in_a_pool_that_is_not_started_is_no_orphan(make_vm: MakeVm, make_pool: MakePool) -> None:
    make_pool(POOL, POOL_HOME)
    vm = template(make_vm, POOL_HOME)
    clone = app(make_vm, volume("clone.qcow2", backing=f"{POOL_HOME}/futmpl.qcow2"))
    vm.host.virsh("pool-destroy", POOL)
    no_orphan(vm, f"{POOL_HOME}/clone.qcow2")
    vm.host.virsh("pool-start", POOL)
    assert clone.disk_reads("vda", 1)


def test_a_clone_on_which_a_volume_elsewhere_is_based_is_no_orphan(make_vm: MakeVm, make_pool: MakePool) -> None:
    make_pool(POOL, POOL_HOME)
    vm = template(make_vm, HOME)
    golden = create_image(vm.host, f"{HOME}/golden.qcow2", backing=f"{HOME}/futmpl.qcow2")
    clone = app(make_vm, volume("clone.qcow2", backing=golden))
    no_orphan(vm, golden)
    assert clone.disk_reads("vda", 1)


def stays(vm: FieldVm, *also_read: str, image_format: str = "qcow2") -> None:
    """Assert that removing s1 of a template leaves its state, which has 1, a layer of its own and says why."""
    base = f"{vm.directory}/futmpl.qcow2"
    before = digest(vm.host, base)
    entry = agreed(vm.remove, "s1")[1]
    for file in also_read:
        assert vm.reads(file, 1, image_format), f"{file} does not read 1 any more: {entry['msg']}"
    assert digest(vm.host, base) == before, f"{base} was written to: {entry['msg']}"
    assert vm.disk_reads("vda", 42)
    if entry["error_code"] is None:
        assert names(entry["notes"], base), entry["notes"]
        assert vm.snapshots() == []
    layers = [layer["file"] for layer in vm.info()["chains"][0]["layers"]]
    assert layers[1:] == [base], layers


@pytest.mark.parametrize("pool", POOL_STATES)
@pytest.mark.parametrize("power", ["off", "running"])
def test_a_state_on_which_a_volume_elsewhere_is_based(
    make_vm: MakeVm, make_pool: MakePool, pool: str, power: str
) -> None:
    make_pool(POOL, POOL_HOME)
    vm = template(make_vm, HOME)
    clone = app(make_vm, volume("clone.qcow2", backing=f"{HOME}/futmpl.qcow2"))
    if power == "running":
        vm.start()
    filled(vm)
    if pool == "inactive":
        vm.host.virsh("pool-destroy", POOL)
    stays(vm, f"{POOL_HOME}/clone.qcow2")
    if pool == "inactive":
        vm.host.virsh("pool-start", POOL)
    assert clone.disk_reads("vda", 1)


@pytest.mark.parametrize("pool", POOL_STATES)
def test_a_state_on_which_something_is_based_that_only_a_pool_has(
    make_vm: MakeVm, make_pool: MakePool, pool: str
) -> None:
    make_pool(POOL, POOL_HOME)
    vm = template(make_vm, HOME)
    clone = create_image(vm.host, f"{POOL_HOME}/clone.qcow2", backing=f"{HOME}/futmpl.qcow2")
    vm.host.virsh("pool-refresh", POOL)
    if pool == "inactive":
        vm.host.virsh("pool-destroy", POOL)
    filled(vm)
    stays(vm, clone)


# What can be written into a clone for the image below it, all of which QEMU opens.
SPELLINGS = {
    "json": 'json:{{"driver":"qcow2","file":{{"driver":"file","filename":"{0}"}}}}',
    "json, dotted": 'json:{{"driver":"qcow2","file.driver":"file","file.filename":"{0}"}}',
    "json, no driver of the file": 'json:{{"driver":"qcow2","file":{{"filename":"{0}"}}}}',
    "protocol": "file:{0}",
    "relative": "../fu/./futmpl.qcow2",
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_state_that_a_clone_names_in_an_odd_way(make_vm: MakeVm, spelling: str) -> None:
    vm = template(make_vm, HOME)
    clone = create_image(vm.host, f"{HOME}/clone.qcow2", backing=SPELLINGS[spelling].format(f"{HOME}/futmpl.qcow2"))
    filled(vm)
    stays(vm, clone)


@pytest.mark.parametrize("image_format", ["qed", "qcow"])
def test_a_state_on_which_an_image_of_another_format_is_based(make_vm: MakeVm, image_format: str) -> None:
    vm = template(make_vm, HOME)
    clone = create_image(vm.host, f"{HOME}/clone.{image_format}", image_format, backing=f"{HOME}/futmpl.qcow2")
    filled(vm)
    stays(vm, clone, image_format=image_format)


# How another VM can have the very image that a snapshot holds.
CDROM = """
    <disk type='file' device='cdrom'>
      <driver name='qemu' type='qcow2'/>
      <source file='{0}'/>
      <target dev='sda' bus='sata'/>
      <readonly/>
    </disk>"""
NVRAM = "<loader readonly='yes' type='pflash'>/opt/guest/halt.rom</loader><nvram>{0}</nvram>"
USES: dict[str, dict[str, Any]] = {
    "writable disk": {"disk": Disk("vda", file="{0}", size="")},
    "shared disk": {"disk": Disk("vda", file="{0}", size="", inside="<readonly/><shareable/>")},
    "cdrom": {"devices": CDROM},
    "kernel": {"boot": "<kernel>{0}</kernel>"},
    "initrd": {"boot": "<kernel>/opt/guest/vmlinuz</kernel><initrd>{0}</initrd>"},
    "nvram": {"boot": NVRAM},
    "floppy": {"devices": "<disk type='file' device='floppy'><source file='{0}'/><target dev='fda' bus='fdc'/></disk>"},
}


@pytest.mark.parametrize("use", USES)
def test_a_state_that_another_vm_has_for_its_own(make_vm: MakeVm, use: str) -> None:
    vm = filled(template(make_vm, HOME))
    base, options = f"{HOME}/futmpl.qcow2", dict(USES[use])
    disk: Disk = options.pop("disk", Disk("vdb"))
    mine = Disk(disk.target, disk.file.format(base), size=disk.size, inside=disk.inside)
    make_vm("fuother", mine, directory=HOME, **{key: text.format(base) for key, text in options.items()})
    stays(vm)


# Volumes in the VM's own definition


def volume_vm(make_vm: MakeVm, make_pool: MakePool, *disks: Disk, power: str) -> FieldVm:
    make_pool(POOL, POOL_HOME)
    return app(make_vm, *disks, power=power)


def depths(vm: FieldVm) -> dict[str, int]:
    return {chain["target"]: chain["depth"] for chain in vm.info()["chains"]}


VOLUMES = {
    "qcow2": [volume("vol.qcow2")],
    "raw": [volume("vol.raw", image_format="raw")],
    "a file and a volume": [Disk("vda"), volume("vol.qcow2", target="vdb")],
    "two volumes": [volume("vol.qcow2"), volume("vol2.raw", image_format="raw", target="vdb")],
}


@pytest.mark.parametrize("power", ["off", "running"])
@pytest.mark.parametrize("disks", VOLUMES)
def test_the_life_of_a_vm_on_volumes(make_vm: MakeVm, make_pool: MakePool, disks: str, power: str) -> None:
    vm = volume_vm(make_vm, make_pool, *VOLUMES[disks], power=power)
    targets = [disk.target for disk in VOLUMES[disks]]
    images = {target: vm.active_file(target) for target in targets}
    assert depths(vm) == dict.fromkeys(targets, 1)
    for target in targets:
        vm.write(target, 1)
    entry = well(agreed(vm.take, "s1")[1])
    assert [disk["target"] for disk in entry["snapshot"]["disks"]] == targets
    assert depths(vm) == dict.fromkeys(targets, 2)
    for target in targets:
        vm.write(target, 2)
    well(agreed(vm.revert, "s1")[1])
    assert all(vm.disk_reads(target, 1) for target in targets)
    for target in targets:
        vm.write(target, 3)
    vm.sound()
    well(agreed(vm.remove, "s1")[1])
    assert {target: vm.active_file(target) for target in targets} == images
    assert all(vm.disk_reads(target, 3) for target in targets)
    assert depths(vm) == dict.fromkeys(targets, 1)
    assert {*vm.files()} <= {*images.values()}
    vm.sound()
    if power == "running":
        vm.off()
    vm.start()
    assert all(vm.disk_reads(target, 3) for target in targets)


def test_a_volume_that_is_based_on_another(make_vm: MakeVm, make_pool: MakePool, planted: Planted) -> None:
    golden = create_image(planted.host, f"{POOL_HOME}/golden.qcow2")
    planted.host.run(["qemu-io", "-f", "qcow2", "-c", "write -P 1 0 64k", golden])
    vm = volume_vm(make_vm, make_pool, volume("vol.qcow2", backing=golden), power="running")
    assert depths(vm) == {"vda": 2}
    well(agreed(vm.take, "s1")[1])
    vm.write("vda", 2)
    well(agreed(vm.remove, "s1")[1])
    assert depths(vm) == {"vda": 2}
    assert vm.disk_reads("vda", 2)
    assert vm.reads(golden, 1)
    vm.sound()


def test_a_volume_of_a_pool_that_is_not_started(make_vm: MakeVm, make_pool: MakePool) -> None:
    """The pool's definition says where it is, or else the refusal says what to do; check mode the same."""
    vm = volume_vm(make_vm, make_pool, volume("vol.qcow2"), power="off")
    vm.host.virsh("pool-destroy", POOL)
    entry = agreed(vm.take, "s1")[1]
    if entry["error_code"]:
        assert f"virsh pool-start {POOL}" in entry["msg"], entry["msg"]
        assert names(vm.info()["problems"], POOL)
        vm.host.virsh("pool-start", POOL)
        well(agreed(vm.take, "s1")[1])
    assert depths(vm) == {"vda": 2}


def test_a_volume_of_a_pool_that_is_gone(make_vm: MakeVm, make_pool: MakePool) -> None:
    vm = volume_vm(make_vm, make_pool, volume("vol.qcow2"), power="off")
    vm.host.virsh("pool-destroy", POOL)
    vm.host.virsh("pool-undefine", POOL)
    entry = agreed(vm.take, "s1")[1]
    assert (entry["changed"], entry["failed"]) == (False, True), entry["msg"]
    assert entry["error_code"] not in {"internal_error", "libvirt_error"}, entry["msg"]
    assert POOL in entry["msg"], entry["msg"]
    assert vm.snapshots() == []
    assert names(vm.info()["problems"], POOL), vm.info()["problems"]


# A VM created again with the same name on what another of that name left


def left_by_another(make_vm: MakeVm, *names: str) -> tuple[FieldVm, list[str], str]:
    """Return a VM that was undefined with snapshots, the overlays these left, and its definition of before them."""
    vm = make_vm("fuweb", "vda", directory=HOME)
    saved = vm.xml(inactive=True)
    overlays = []
    for name in names:
        well(vm.take(name))
        overlays.append(vm.active_file("vda"))
        vm.write("vda", 42)
    vm.virsh("undefine", "--snapshots-metadata")
    return vm, overlays, saved


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


# What this task does not touch is no reason to fail


@pytest.mark.parametrize("how", ["image gone", "backing file gone"])
def test_a_disk_that_no_snapshot_is_of_may_be_broken(make_vm: MakeVm, planted: Planted, how: str) -> None:
    create_image(planted.host, f"{HOME}/golden.qcow2")
    vm = make_vm(
        "fuweb", "vda", Disk("vdb", backing="" if how == "image gone" else f"{HOME}/golden.qcow2"), directory=HOME
    )
    vm.write("vda", 1)
    well(vm.take("s1", disks=["vda"]))
    vm.write("vda", 42)
    vm.host.run(f"rm {HOME}/{'fuweb-vdb' if how == 'image gone' else 'golden'}.qcow2")
    well(agreed(vm.revert, "s1", power="shutoff")[1])
    assert vm.disk_reads("vda", 1)
    vm.write("vda", 43)
    well(agreed(vm.remove, "s1")[1])
    assert vm.disk_reads("vda", 43)
    assert vm.active_file("vda") == f"{HOME}/fuweb.qcow2"
