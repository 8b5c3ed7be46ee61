# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A past that cannot be known is told as unknown."""

from __future__ import annotations

import json

import pytest

from .field import MakeVm, agreed, make_vm
from .past_vm import BASE, HOME, RECORDS, goes_back, home, off, pasts, poke, record, refused, taken, well
from .planted import planted

__all__ = ("home", "make_vm", "planted")


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


@pytest.mark.everywhere  # each libvirt does it in another way
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


@pytest.mark.everywhere  # each libvirt does it in another way
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
