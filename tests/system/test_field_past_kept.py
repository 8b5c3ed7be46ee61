# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is no damage is none: QEMU's own late writes, our merges, and kills between a step and its note."""

from __future__ import annotations

from typing import Any, Callable

import pytest

from .field import MakeVm, agreed, make_vm
from .field_vm import FieldVm
from .past_vm import BASE, HOME, goes_back, home, off, pasts, poke, record, refused, taken, well
from .planted import planted

__all__ = ("home", "make_vm", "planted")


def reasons(vm: FieldVm, name: str) -> str:
    return "; ".join(next(one for one in vm.info()["snapshots"] if one["name"] == name)["past_reasons"])


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
@pytest.mark.parametrize("step", ["remove, 'close_record'", "merge_layers, 'rebase_unsafe'", "VmHandle, 'agree'"])
def test_a_kill_between_a_merge_and_its_note(make_vm: MakeVm, on: bool, step: str) -> None:
    vm = taken(make_vm, "s1", "s2", "s3", start=on)
    prelude = f"from {PACKAGE}.vm_handle import VmHandle\n"
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
    vm.planted.snapshot("before(take_steps.Taking, '_write_record', die)", "pastv", "s1", quiesce="never")
    if meanwhile == "a write":
        vm.host.run(f"touch -d '+1 hour' {BASE}")
    well(vm.take("s2"))
    assert pasts(vm) == {"s1": "unchanged" if meanwhile == "nothing" else "unproven", "s2": "unchanged"}


PACKAGE = "ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt"
