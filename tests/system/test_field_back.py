# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM that does not start on a snapshot goes back to where it was."""

from __future__ import annotations

import pytest

from .field import MakeVm, agreed, make_vm
from .planted import only, planted
from .ready_vm import HOME, home, seen, snapshot, untouched, well

__all__ = ("home", "make_vm", "planted")

_NONSENSE = f"for f in {HOME}/ready1.vda.s1-*.qcow2; do echo no > $f; done"

SPOIL = f"before(revert, 'start', lambda: subprocess.run({_NONSENSE!r}, shell=True))"


@pytest.mark.parametrize("memory", [False, True])
def test_a_vm_that_does_not_start_goes_back(make_vm: MakeVm, memory: bool) -> None:
    vm = make_vm("ready1", directory=HOME, start=True)
    vm.write("vda", 1)
    well(vm.take("s1", include_memory=memory))
    vm.write("vda", 42)
    before = seen(vm)
    entry = only(vm.planted.revert(SPOIL, vm.name, "s1"))
    assert (entry["error_code"], entry["changed"]) == ("start_failed", False), entry["msg"]
    assert "is back where it was, and running" in entry["msg"]
    after = seen(vm)
    assert after.pop("process") != before.pop("process")
    assert after == before
    assert vm.disk_reads("vda", 42)
    vm.sound()
    well(agreed(vm.revert, "s1")[1])
    assert (vm.state, vm.disk_reads("vda", 1)) == ("running", True)
    vm.sound()


def test_a_vm_that_was_off_stays_off(make_vm: MakeVm) -> None:
    vm = snapshot(make_vm("ready1", directory=HOME))
    with untouched(vm):
        entry = only(vm.planted.revert(SPOIL, vm.name, "s1", power="running"))
        assert entry["error_code"] == "start_failed", entry["msg"]
    assert vm.disk_reads("vda", 42)
    vm.sound()


def test_a_vm_that_starts_nowhere(make_vm: MakeVm) -> None:
    """Its definition has what nobody can see through; its disks are where they were all the same."""
    vm = snapshot(make_vm("ready1", directory=HOME, start=True))
    space = "xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'"
    vm.redefine("</domain>", f"<qemu:commandline {space}><qemu:arg value='-nonsense'/></qemu:commandline></domain>")
    entry = vm.revert("s1")
    assert entry["error_code"] == "start_failed"
    assert (vm.state, vm.disk_reads("vda", 42)) == ("shut off", True)
    assert "virsh start ready1" in entry["msg"]
    vm.sound()
    vm.redefine("<qemu:arg value='-nonsense'/>", "")
    vm.start()
    well(agreed(vm.revert, "s1")[1])


@pytest.mark.parametrize(
    "step",
    [
        "revert, 'go_back'",
        "revert.Revert, '_forget'",
        "revert, 'remove_unused'",
        "vm_handle.VmHandle, 'put_back_record'",
    ],
)
def test_killed_on_the_way_back(make_vm: MakeVm, step: str) -> None:
    vm = snapshot(make_vm("ready1", directory=HOME, start=True))
    assert vm.planted.revert(f"{SPOIL}\nbefore({step}, die)", vm.name, "s1").get("killed")
    entry = vm.take("s2")
    if entry["error_code"]:  # it tried once more to start, and went back
        assert entry["error_code"] == "start_failed"
        entry = vm.take("s2")
    well(entry)
    assert (vm.state, vm.disk_reads("vda", 42), vm.snapshots()) == ("running", True, ["s1", "s2"])
    vm.sound()


@pytest.mark.parametrize("step", ["revert, 'carry_out'", "revert, 'close_record'", "vm_handle.VmHandle, 'unlink'"])
def test_there_is_no_way_back_once_it_has_started(make_vm: MakeVm, step: str) -> None:
    vm = snapshot(make_vm("ready1", directory=HOME, start=True))
    assert vm.planted.revert(f"before({step}, die)", vm.name, "s1").get("killed")
    vm.off()
    entry = vm.revert("s1")
    assert entry["error_code"] is None, entry["msg"]
    assert vm.disk_reads("vda", 1)
    vm.sound()
