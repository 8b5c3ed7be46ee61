# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Beside a backup tool that keeps checkpoints: libvirt refuses some work on the snapshots of a VM that is off then."""

from __future__ import annotations

import pytest

from .field import MakeVm, agreed, make_vm
from .field_vm import FieldVm
from .other_users import HOME, home, well
from .planted import Planted, planted
from .ready_vm import untouched

__all__ = ("home", "make_vm", "planted")


@pytest.fixture
def vm(make_vm: MakeVm, planted: Planted) -> FieldVm:
    """A VM that is off, with checkpoint c1, snapshots s1 (1) and s2 (2), and 42 now."""
    if planted.host.name == "hv-bullseye":
        pytest.skip("libvirt 7.0 has no checkpoints")
    vm = make_vm("fuweb", "vda", directory=HOME, start=True)
    vm.virsh("checkpoint-create-as", "c1")
    for number in (1, 2):
        vm.write("vda", number)
        well(vm.take(f"s{number}"))
    vm.write("vda", 42)
    vm.off()
    return vm


def test_a_take_of_a_vm_that_is_off(vm: FieldVm) -> None:
    with untouched(vm):
        told, done = agreed(vm.take, "s3")
        assert (told["error_code"], done["error_code"]) == ("bad_state", "bad_state"), done["msg"]
        assert "c1" in done["msg"]
    vm.virsh("checkpoint-delete", "c1", "--metadata")
    well(agreed(vm.take, "s3")[1])
    vm.sound()


@pytest.mark.parametrize("how", ["remove", "revert"])
def test_a_change_of_a_vm_that_is_off(vm: FieldVm, how: str) -> None:
    change = {"remove": vm.remove, "revert": vm.revert}[how]
    with untouched(vm):
        code = agreed(change, "s1")[1]["error_code"] if vm.planted.host.name == "hv-bookworm" else "bad_state"
        assert code == "bad_state"
    vm.start()
    entry = well(agreed(change, "s1")[1])
    assert vm.disk_reads("vda", 42 if how == "remove" else 1), entry["msg"]
    assert any("c1" in note for note in entry["notes"]) is (how == "revert"), entry["notes"]
    assert vm.info()["operation"] is None


def test_a_revert_that_leaves_it_off(vm: FieldVm) -> None:
    vm.start()
    told, done = agreed(vm.revert, "s1", power="shutoff")
    assert told["error_code"] == done["error_code"]
    assert done["error_code"] == ("bad_state" if vm.planted.host.name == "hv-bookworm" else None), done["msg"]
    assert vm.disk_reads("vda", 42 if done["error_code"] else 1)
    assert vm.info()["operation"] is None
