# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a snapshot is as it was: who writes to what it froze is found out, and nobody is blamed who wrote nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Callable, Optional

import pytest

from .field import Disk, Entry, FieldVm, MakeVm, agreed, create_image, make_vm
from .planted import Planted, planted

__all__ = ("make_vm", "planted")

HOME = "/var/lib/libvirt/images/past"  # on ext4
BASE = f"{HOME}/pastv.qcow2"
CHANGED_WORDS = "changed by others on "


@pytest.fixture(autouse=True)
def home(planted: Planted) -> Iterator[None]:
    planted.host.run(f"rm -rf {HOME} {HOME}2; mkdir -p {HOME}")
    yield
    planted.host.run(f"rm -rf {HOME} {HOME}2")


def taken(make_vm: MakeVm, *names: str, disk: Optional[Disk] = None, start: bool = True) -> FieldVm:
    """Return a VM that wrote 1, took the first snapshot, wrote 2, took the second …"""
    vm = make_vm("pastv", disk or "vda", directory=HOME, start=start)
    for number, name in enumerate(names or ("s1",), 1):
        vm.write("vda", number)
        well(vm.take(name))
    vm.write("vda", len(names or ("s1",)) + 1)
    return vm


def well(entry: Entry) -> Entry:
    assert (entry["changed"], entry["error_code"]) == (True, None), entry["msg"]
    return entry


def pasts(vm: FieldVm) -> dict[str, str]:
    return {one["name"]: one["past"] for one in vm.info()["snapshots"]}


def reasons(vm: FieldVm, name: str) -> str:
    return "; ".join(next(one for one in vm.info()["snapshots"] if one["name"] == name)["past_reasons"])


def off(vm: FieldVm) -> FieldVm:
    vm.off()
    return vm


def poke(vm: FieldVm, file: str, pattern: int = 66, image_format: str = "qcow2") -> None:
    """Write to an image by hand."""
    said = vm.host.run(["qemu-io", "-f", image_format, "-c", f"write -P {pattern} 0 64k", file]).stdout
    assert "ops/sec" in said


def backed_up(vm: FieldVm) -> None:
    """Do as most backup scripts do: snapshot without metadata, copy, commit."""
    spec = f"vda,file={HOME}/pastv.bk"
    vm.virsh("snapshot-create-as", "bk", "--disk-only", "--no-metadata", "--atomic", "--diskspec", spec)
    vm.write("vda", 3)
    vm.virsh("blockcommit", "vda", "--active", "--pivot", "--wait")


def refused(vm: FieldVm, name: str, *files: str) -> None:
    """Assert that a snapshot is told to be changed, and that a revert is refused and changes nothing."""
    assert pasts(vm)[name] == "changed"
    assert all(any(file in one and CHANGED_WORDS in one for one in vm.info()["problems"]) for file in files or (BASE,))
    before = (vm.files(), vm.snapshots(), vm.xml(inactive=True), vm.state)
    entry = agreed(vm.revert, name)[1]
    assert (entry["error_code"], entry["changed"]) == ("snapshot_changed", False), entry["msg"]
    assert CHANGED_WORDS in entry["msg"]
    assert entry["details"]["snapshot"] == name
    assert (vm.files(), vm.snapshots(), vm.xml(inactive=True), vm.state) == before


def goes_back(vm: FieldVm, name: str, pattern: int, note: str = "", **options: Any) -> Entry:
    entry = well(agreed(vm.revert, name, **options)[1])
    assert vm.disk_reads("vda", pattern), entry["msg"]
    assert any(note in one for one in entry["notes"]) if note else not entry["notes"], entry["notes"]
    return entry


# What others write is found out


def test_a_foreign_commit(make_vm: MakeVm) -> None:
    vm = taken(make_vm)
    backed_up(vm)
    refused(vm, "s1")
    assert vm.state == "running"
    assert vm.disk_reads("vda", 3)


def test_what_cannot_be_told_apart_stays_where_a_changed_image_is_accepted(make_vm: MakeVm) -> None:
    """The VM is on the frozen image: by a commit, or by an older definition, and then the overlay has its newest data."""
    vm = taken(make_vm)
    overlay = vm.active_file("vda")
    backed_up(vm)
    entry = goes_back(vm, "s1", 3, "accept_changed", accept_changed=True)
    assert vm.exists(overlay)
    assert any(overlay in note for note in entry["notes"]), entry["notes"]
    vm.write("vda", 5)
    well(agreed(vm.remove, "s1")[1])
    assert vm.disk_reads("vda", 5)
    assert vm.exists(overlay)


def test_a_foreign_commit_that_a_later_snapshot_hides(make_vm: MakeVm) -> None:
    vm = taken(make_vm)
    backed_up(vm)
    vm.virsh("snapshot-create-as", "later", "--disk-only", "--diskspec", f"vda,file={HOME}/pastv.later")
    vm.write("vda", 4)
    refused(vm, "s1")
    goes_back(vm, "s1", 3, "accept_changed", accept_changed=True)


def test_a_snapshot_taken_after_it_is_as_it_was(make_vm: MakeVm) -> None:
    vm = off(taken(make_vm, "s1", "s2"))
    poke(vm, BASE)
    well(vm.take("s3"))
    assert pasts(vm) == {"s1": "changed", "s2": "changed", "s3": "unchanged"}
    well(agreed(vm.remove, "s3")[1])
    assert pasts(vm) == {"s1": "changed", "s2": "changed"}


def test_a_foreign_commit_in_the_middle(make_vm: MakeVm) -> None:
    vm = taken(make_vm, "s1", "s2")
    state = next(one for one in vm.info()["snapshots"] if one["name"] == "s2")["disks"][0]["base"]
    vm.virsh("blockcommit", "vda", "--top", state, "--base", BASE, "--wait")
    assert pasts(vm) == {"s1": "changed", "s2": "changed"}
    refused(vm, "s1")
    assert vm.disk_reads("vda", 3)


def test_an_image_written_by_hand(make_vm: MakeVm) -> None:
    vm = off(taken(make_vm))
    poke(vm, BASE)
    refused(vm, "s1")


def test_an_overlay_committed_by_hand(make_vm: MakeVm) -> None:
    vm = off(taken(make_vm, "s1", "s2"))
    state = next(one for one in vm.info()["snapshots"] if one["name"] == "s2")["disks"][0]["base"]
    vm.host.run(["qemu-img", "commit", "-q", "-d", "-f", "qcow2", state])
    refused(vm, "s1")
    refused(vm, "s2")


def test_a_second_vm_that_ran_on_it(make_vm: MakeVm) -> None:
    vm = off(taken(make_vm))
    second = make_vm("pastother", Disk("vda", file=BASE, size=""), directory=f"{HOME}2", start=True)
    assert pasts(vm) == {"s1": "unchanged"}
    second.write("vda", 77)
    second.wipe()
    refused(vm, "s1")


def test_an_old_definition_that_wrote_to_it(make_vm: MakeVm) -> None:
    vm = make_vm("pastv", directory=HOME)
    old = vm.xml(inactive=True)
    well(vm.take("s1"))
    right = vm.xml(inactive=True)
    vm.define(old)
    vm.start()
    vm.write("vda", 77)
    vm.off()
    vm.define(right)
    refused(vm, "s1")


def test_a_template_far_below(make_vm: MakeVm, planted: Planted) -> None:
    template = create_image(planted.host, f"{HOME}/template.raw", "raw", size="1M")
    vm = taken(make_vm, disk=Disk("vda", backing=template, backing_format="raw"), start=False)
    create_image(vm.host, template, "raw", size="1M")
    refused(vm, "s1", template)


def test_a_memory_file(make_vm: MakeVm) -> None:
    vm = make_vm("pastv", directory=HOME, start=True)
    file = well(vm.take("s1", include_memory=True))["snapshot"]["memory_file"]
    assert pasts(vm) == {"s1": "unchanged"}
    vm.host.run(f"printf x >> {file}")
    refused(vm, "s1", file)


def test_a_file_that_took_its_place(make_vm: MakeVm) -> None:
    vm = off(taken(make_vm))
    vm.host.run(f"rm {BASE}")
    create_image(vm.host, BASE)
    refused(vm, "s1")
    vm.host.run(f"yes | head -c 1M > {BASE}")
    assert pasts(vm) == {"s1": "changed"}


def test_what_was_changed_stays_changed_when_it_is_merged(make_vm: MakeVm) -> None:
    vm = off(taken(make_vm, "s1", "s2"))
    poke(vm, BASE)
    well(agreed(vm.remove, "s1")[1])
    assert vm.disk_reads("vda", 3)
    refused(vm, "s2")
    goes_back(vm, "s2", 2, "accept_changed", accept_changed=True)


# What is no damage is none

UNHARMED: dict[str, Callable[[FieldVm], Any]] = {
    "chown": lambda vm: vm.host.run(f"chown root:root {BASE}; chmod 0644 {BASE}"),
    "cp -p": lambda vm: vm.host.run(f"cp -p {BASE} {BASE}.x; mv {BASE}.x {BASE}"),
    "tar": lambda vm: vm.host.run(f"cd {HOME}; tar -cf pastv.tar pastv.qcow2; rm pastv.qcow2; tar -xf pastv.tar"),
    "a look": lambda vm: vm.host.run(f"qemu-img check -q {BASE}; qemu-img map {BASE}; qemu-img info {BASE}"),
    "a start": lambda vm: (vm.start(), vm.off()),
    "a save": lambda vm: (vm.start(), vm.virsh("managedsave"), vm.start(), vm.off()),
}


@pytest.mark.parametrize("what", UNHARMED)
def test_who_writes_nothing(make_vm: MakeVm, what: str) -> None:
    vm = off(taken(make_vm))
    UNHARMED[what](vm)
    assert pasts(vm) == {"s1": "unchanged"}
    goes_back(vm, "s1", 1)
    assert pasts(vm) == {"s1": "unchanged"}


def test_what_qemu_writes_late(make_vm: MakeVm) -> None:
    """Lazy refcounts and persistent bitmaps go down as the overlay takes over, and nothing does after that."""
    vm = make_vm("pastv", directory=HOME)
    vm.host.run(f"qemu-img create -q -f qcow2 -o lazy_refcounts=on {BASE} 64M")
    vm.start()
    bitmaps = vm.host.name != "hv-bullseye"  # libvirt 7.0 has no checkpoints
    if bitmaps:
        vm.virsh("checkpoint-create-as", "c1")
    for number in (1, 2):
        vm.write("vda", number)
        well(vm.take(f"s{number}"))
    vm.write("vda", 3)
    vm.virsh("suspend")
    vm.virsh("resume")
    if bitmaps:
        vm.virsh("checkpoint-create-as", "c2")
    assert pasts(vm) == {"s1": "unchanged", "s2": "unchanged"}
    vm.off()
    vm.start()
    assert pasts(vm) == {"s1": "unchanged", "s2": "unchanged"}
    if bitmaps:
        vm.virsh("checkpoint-delete", "c1")
        assert pasts(vm) == {"s1": "unproven", "s2": "unproven"}
        assert "checkpoint-delete" in reasons(vm, "s1")
        vm.virsh("checkpoint-delete", "c2")  # 9.0 lets no snapshot be redefined as long as there is a checkpoint
    goes_back(vm, "s1", 1, "checkpoint-delete" if bitmaps else "")
    vm.off()
    poke(vm, BASE)
    refused(vm, "s1")


def test_our_own_merges(make_vm: MakeVm) -> None:
    vm = taken(make_vm, "s1", "s2", "s3", "s4")
    well(agreed(vm.remove, "s2")[1])
    assert pasts(vm) == dict.fromkeys(("s1", "s3", "s4"), "unchanged")
    vm.off()
    well(agreed(vm.remove, "s1")[1])
    assert pasts(vm) == {"s3": "unchanged", "s4": "unchanged"}
    goes_back(vm, "s3", 3)
    vm.start()
    well(vm.take("s5"))
    well(agreed(vm.remove, "s3")[1])
    vm.off()
    assert pasts(vm) == {"s4": "unchanged", "s5": "unchanged"}
    goes_back(vm, "s4", 4)
    well(agreed(vm.remove, all_snapshots=True)[1])
    assert record(vm)["images"] == {}


@pytest.mark.parametrize("on", [True, False])
@pytest.mark.parametrize("step", ["remove, 'close_record'", "merge_steps, 'rebase_unsafe'", "VmHandle, 'agree'"])
def test_a_kill_between_a_merge_and_its_note(make_vm: MakeVm, on: bool, step: str) -> None:
    vm = taken(make_vm, "s1", "s2", "s3", start=on)
    prelude = f"from {PACKAGE}.vm import VmHandle\n"
    vm.planted.remove(f"{prelude}before({step}, die)", "pastv", name="s1")
    if record(vm)["journal"]:
        assert pasts(vm)["s2"] == "unproven"
        assert "has not ended" in reasons(vm, "s2")
    assert vm.remove("s1")["error_code"] is None
    assert pasts(vm) == {"s2": "unchanged", "s3": "unchanged"}
    goes_back(vm, "s2", 2)


@pytest.mark.parametrize("meanwhile", ["nothing", "a write"])
def test_a_kill_between_the_switch_and_its_note(make_vm: MakeVm, meanwhile: str) -> None:
    vm = make_vm("pastv", directory=HOME)
    vm.write("vda", 1)
    vm.planted.snapshot("before(taking.Taking, '_write_record', die)", "pastv", "s1", quiesce="never")
    if meanwhile == "a write":
        vm.host.run(f"touch -d '+1 hour' {BASE}")
    well(vm.take("s2"))
    assert pasts(vm) == {"s1": "unchanged" if meanwhile == "nothing" else "unproven", "s2": "unchanged"}


# What cannot be known is told


def test_a_record_that_is_lost(make_vm: MakeVm) -> None:
    vm = taken(make_vm)
    vm.host.run(f"rm {RECORDS}/{vm.uuid}.json")
    assert pasts(vm) == {"s1": "unproven"}
    goes_back(vm, "s1", 1, "the record is lost")
    well(vm.take("s2"))
    assert pasts(vm) == {"s1": "unproven", "s2": "unchanged"}


def test_what_others_took(make_vm: MakeVm) -> None:
    vm = make_vm("pastv", directory=HOME, start=True)
    vm.write("vda", 1)
    vm.virsh("snapshot-create-as", "theirs", "--disk-only", "--diskspec", f"vda,file={HOME}/pastv.theirs")
    well(vm.take("ours"))
    assert pasts(vm) == {"theirs": "unproven", "ours": "unchanged"}
    goes_back(vm, "theirs", 1, "others took it")


def test_libvirts_own_delete(make_vm: MakeVm) -> None:
    """It merges the removed snapshot's state with the next one's: nobody is wronged, and nothing is proven any more."""
    vm = taken(make_vm, "s1", "s2", "s3")
    if vm.host.name == "hv-bullseye":
        pytest.skip("libvirt 7.0 deletes no external snapshot")
    vm.virsh("snapshot-delete", "s1")
    assert pasts(vm) == {"s2": "unproven", "s3": "unproven"}
    well(vm.take("s4"))
    assert pasts(vm) == {"s2": "unproven", "s3": "unproven", "s4": "unchanged"}
    goes_back(vm, "s2", 2, "snapshot-delete")
    well(agreed(vm.remove, "s2")[1])
    vm.off()
    poke(vm, BASE)
    refused(vm, "s3")


def test_libvirts_own_delete_of_the_newest(make_vm: MakeVm) -> None:
    vm = taken(make_vm, "s1", "s2")
    if vm.host.name == "hv-bullseye":
        pytest.skip("libvirt 7.0 deletes no external snapshot")
    vm.virsh("snapshot-delete", "s2")
    assert pasts(vm) == {"s1": "unchanged"}
    well(vm.take("s2"))
    assert pasts(vm) == {"s1": "unchanged", "s2": "unchanged"}
    goes_back(vm, "s1", 1)


def test_a_record_of_a_later_release(make_vm: MakeVm) -> None:
    vm = taken(make_vm)
    file = f"{RECORDS}/{vm.uuid}.json"
    later = {**record(vm), "schema": 99, "written_by": "9.9.9"}
    vm.host.put(file, json.dumps(later))
    for action in (vm.take, vm.revert, vm.remove):
        entry = agreed(action, "s1")[1]
        assert (entry["error_code"], entry["changed"]) == ("record_newer", False)
        assert "9.9.9" in entry["msg"]
    assert vm.info()["error_code"] == "record_newer"
    assert record(vm) == later


def test_images_that_were_moved(make_vm: MakeVm) -> None:
    vm = off(taken(make_vm))
    vm.host.run(f"mkdir -p {HOME}2; mv {BASE} {HOME}2/pastv.qcow2; ln -s {HOME}2/pastv.qcow2 {BASE}")
    assert pasts(vm) == {"s1": "unchanged"}
    goes_back(vm, "s1", 1)


RECORDS = "/var/lib/limiquantix-kvm"
PACKAGE = "ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt"


def record(vm: FieldVm) -> dict[str, Any]:
    """Return what the host keeps of a VM."""
    found: dict[str, Any] = json.loads(vm.host.run(f"cat {RECORDS}/{vm.uuid}.json").stdout)
    return found
