# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state of a TPM after a take, a revert or a removal that was killed."""

from __future__ import annotations

import pytest

from .field import MakeVm, make_vm
from .guest import wait_for
from .other_users import well
from .planted import planted
from .tpm_vm import COPY, TpmVm, home, slow, snapshot

__all__ = ("home", "make_vm", "planted")


_TAKE = (
    "take_copy.FirmwareCopies, 'begin'",
    "take_copy.FirmwareCopies, 'make'",
    "take_steps.Taking, '_switch'",
    "take_steps.Taking, '_write_record'",
)


@slow
@pytest.mark.parametrize("step", _TAKE)
def test_a_take_that_is_killed_leaves_the_vm_running_and_nothing_behind(make_vm: MakeVm, step: str) -> None:
    tpm = TpmVm(make_vm, start=True)
    vm = tpm.vm
    assert vm.planted.snapshot(f"before({step}, die)", vm.name, "s1", quiesce="never") == {"killed": True}
    wait_for("the VM", lambda: vm.state == "running", 15)
    entry = well(vm.take("s2"))
    taken = ["s1", "s2"] if "_write_record" in step else ["s2"]
    assert vm.snapshots() == taken, entry["msg"]
    assert tpm.copies() == {COPY.replace(".s1.", f".{name}.") for name in taken}
    for name in taken:
        copy = str(snapshot(vm, name)["tpm"])
        assert (copy, tpm.number(copy)) == (COPY.replace(".s1.", f".{name}."), 1)
    vm.sound()


_REVERT = (
    pytest.param("revert, 'put_firmware_back'", marks=slow),
    pytest.param("put_back, 'make_like'", marks=slow),
    pytest.param("put_back, '_keep'", marks=slow),
    "put_back.os, 'rename'",
    pytest.param("revert, 'start'", marks=slow),
    pytest.param("revert, 'close'", marks=slow),
    pytest.param("revert, 'carry_out'", marks=slow),
)


@pytest.mark.parametrize("step", _REVERT)
def test_a_revert_that_is_killed_is_finished_with_its_tpm(make_vm: MakeVm, step: str) -> None:
    tpm = TpmVm(make_vm, start=True)
    vm = tpm.vm
    tpm.take_and_change()
    assert vm.planted.revert(f"before({step}, die)", vm.name, "s1") == {"killed": True}
    entry = well(vm.revert("s1"))
    assert entry["recovered"].startswith("Finished the interrupted revert"), entry
    assert (tpm.number(), vm.disk_reads("vda", 1), vm.state) == (7, True, "running")
    assert (tpm.copies(), tpm.lying_there()) == ({COPY}, ["tpm2-00.permall"])
    vm.sound()


@slow
def test_what_the_vm_wrote_after_a_killed_revert_stays(make_vm: MakeVm) -> None:
    tpm = TpmVm(make_vm, start=True)
    vm = tpm.vm
    tpm.take_and_change(disk=False)
    assert vm.planted.revert("before(revert, 'close', die)", vm.name, "s1") == {"killed": True}
    tpm.write(11)
    vm.off()
    well(vm.take("s2"))
    assert (tpm.number(), tpm.copies()) == (11, {COPY, COPY.replace(".s1.", ".s2.")})
    assert tpm.lying_there() == ["tpm2-00.permall"]
    vm.sound()


@slow
def test_a_revert_that_never_stopped_its_vm_is_undone_at_once(make_vm: MakeVm) -> None:
    """Swtpm holds its lock as long as the VM runs: nothing waits for that."""
    tpm = TpmVm(make_vm, start=True)
    vm = tpm.vm
    tpm.take_and_change()
    assert vm.planted.revert("before(revert, 'make_overlays', die)", vm.name, "s1") == {"killed": True}
    entry = well(vm.take("s2"))
    assert entry["recovered"].startswith("Undid the interrupted revert"), entry
    assert "It has the state of the TPM" not in entry["recovered"]
    assert (tpm.number(), vm.disk_reads("vda", 2), vm.state) == (9, True, "running")
    vm.sound()


@slow
@pytest.mark.parametrize("step", ["remove, 'noted_copies'", "vm_handle.VmHandle, 'unlink'", "remove, 'close_record'"])
def test_a_removal_that_is_killed_is_finished_with_the_copy(make_vm: MakeVm, step: str) -> None:
    tpm = TpmVm(make_vm, start=True)
    vm = tpm.vm
    tpm.take_and_change()
    assert vm.planted.remove(f"before({step}, die)", vm.name, name="s1") == {"killed": True}
    well(vm.take("s2"))
    assert (vm.snapshots(), tpm.copies()) == (["s2"], {COPY.replace(".s1.", ".s2.")})
    assert (tpm.number(), vm.disk_reads("vda", 2)) == (9, True)
    vm.sound()
