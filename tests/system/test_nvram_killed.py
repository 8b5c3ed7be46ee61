# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""UEFI variables after a take or a revert that was killed: judged by the bytes of their file."""

from __future__ import annotations

import pytest

from .field import MakeVm, make_vm
from .guest import wait_for
from .other_users import well
from .planted import planted
from .uefi_vm import COPY, UefiVm, home, slow, snapshot

__all__ = ("home", "make_vm", "planted")


_TAKE = (
    pytest.param("take_copy.FirmwareCopies, 'begin'", marks=slow),
    pytest.param("take_copy.FirmwareCopies, 'make'", marks=slow),
    pytest.param("take_copy, 'write'", marks=slow),
    "take_steps.Taking, '_switch'",
    pytest.param("take_steps.Taking, '_write_record'", marks=slow),
)


@pytest.mark.parametrize("step", _TAKE)
def test_a_take_that_is_killed_leaves_the_vm_running_and_nothing_behind(make_vm: MakeVm, step: str) -> None:
    uefi = UefiVm(make_vm, start=True)
    vm = uefi.vm
    uefi.write(7)
    assert vm.planted.snapshot(f"before({step}, die)", vm.name, "s1", quiesce="never") == {"killed": True}
    wait_for("the VM", lambda: vm.state == "running", 15)
    entry = well(vm.take("s2"))
    taken = ["s1", "s2"] if "_write_record" in step else ["s2"]
    assert vm.snapshots() == taken, entry["msg"]
    assert uefi.copies() == {COPY.replace(".s1.", f".{name}.") for name in taken}
    assert all(uefi.holds(7, copy) for copy in uefi.copies())
    for name in taken:
        assert snapshot(vm, name)["nvram"] == COPY.replace(".s1.", f".{name}.")
    vm.sound()


_REVERT = (
    pytest.param("revert, 'put_firmware_back'", marks=slow),
    pytest.param("put_back, '_keep'", marks=slow),
    pytest.param("put_back, 'make_like'", marks=slow),
    "put_back.os, 'rename'",
    pytest.param("revert, 'start'", marks=slow),
    pytest.param("revert, 'close'", marks=slow),
    pytest.param("revert, 'carry_out'", marks=slow),
)


@pytest.mark.parametrize("step", _REVERT)
def test_a_revert_that_is_killed_is_finished_with_its_variables(make_vm: MakeVm, step: str) -> None:
    uefi = UefiVm(make_vm, start=True)
    vm = uefi.vm
    uefi.take_and_change()
    assert vm.planted.revert(f"before({step}, die)", vm.name, "s1") == {"killed": True}
    vm.revert("s1")
    assert (uefi.holds(7), vm.disk_reads("vda", 1), vm.state) == (True, True, "running")
    assert uefi.copies() == {COPY}
    vm.sound()


@slow
def test_variables_that_the_guest_changed_after_a_killed_revert_stay(make_vm: MakeVm) -> None:
    uefi = UefiVm(make_vm, start=True)
    vm = uefi.vm
    uefi.take_and_change(disk=False)
    assert vm.planted.revert("before(revert, 'close', die)", vm.name, "s1") == {"killed": True}
    uefi.write(11)
    vm.off()
    well(vm.take("s2"))
    assert (uefi.holds(11), uefi.copies()) == (True, {COPY, COPY.replace(".s1.", ".s2.")})
    vm.sound()
