# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What libvirt ends before its time, or not in time: a merge of a VM that goes off, the stop of a VM, the time of a task."""

from __future__ import annotations

import pytest

from .field import MakeVm, make_vm
from .field_disk import create_image
from .field_vm import FieldVm
from .guest import wait_for
from .other_users import well
from .planted import only, planted

__all__ = ("make_vm", "planted")

_ABORTED_AND_OFF = """
def gone(handle, target, *_words, **_options):
    handle.native.blockJobAbort(target, 0)
    handle.native.destroy()
live_commit._wait = gone
"""
# QEMU hangs in its storage: libvirt gives up waiting, and it ends later.
_SLOW_STOP = """
import libvirt
def slow(domain):
    command = ["sh", "-c", "sleep 2; virsh destroy " + domain.name()]
    subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    raise libvirt.libvirtError("Failed to terminate process")
libvirt.virDomain.destroy = slow
start_or_go_back._STOP_SECONDS = {most}
"""


def grown(make_vm: MakeVm, name: str, *disks: str) -> FieldVm:
    """Return a running VM that holds 1 in s1, 2 in s2 and 3 now, in 8 MiB of vda."""
    vm = make_vm(name, *disks, start=True)
    for pattern, snapshot in enumerate(("s1", "s2"), 1):
        vm.write("vda", pattern, "8M")
        well(vm.take(snapshot))
    vm.write("vda", 3, "8M")
    return vm


def test_a_merge_that_is_aborted_and_whose_vm_goes_off_is_not_done(make_vm: MakeVm) -> None:
    """The definition of a VM that was reverted names no chain: a layer that it does not name is not merged for that."""
    vm = grown(make_vm, "fabort")
    well(vm.revert("s2"))
    vm.write("vda", 4)
    entry = only(vm.planted.remove(_ABORTED_AND_OFF, vm.name, name="s1", bandwidth=1))
    assert entry["error_code"] == "merge_failed", entry
    assert "shut off" in entry["msg"]
    assert vm.remove("s1")["error_code"] is None
    assert (vm.snapshots(), vm.disk_reads("vda", 4)) == (["s2"], True)
    well(vm.revert("s2"))
    assert vm.disk_reads("vda", 2, "8M")
    vm.sound()


@pytest.mark.parametrize("in_time", [True, False])
def test_a_vm_that_ends_late_is_reverted_at_once_or_by_the_next_run(make_vm: MakeVm, in_time: bool) -> None:
    vm = grown(make_vm, "fslow")
    entry = only(vm.planted.revert(_SLOW_STOP.format(most=30 if in_time else 0.2), vm.name, "s1"))
    if not in_time:
        assert entry["error_code"] is not None
        wait_for("the end of QEMU", lambda: vm.state == "shut off")
        assert "Finished" in well(vm.revert("s1"))["recovered"]
    assert (vm.state, vm.disk_reads("vda", 1, "8M")) == ("running", True)
    vm.sound()


def test_a_merge_goes_on_where_a_disk_is_defined_otherwise_for_the_next_start(make_vm: MakeVm) -> None:
    vm = grown(make_vm, "fnext", "vda", "vdb")
    other = create_image(vm.host, f"{vm.directory}/fnext-new.qcow2")
    vm.redefine(vm.active_file("vdb"), other)
    late = only(vm.planted.remove("", vm.name, name="s1", bandwidth=1, timeout=1))
    assert late["merge"], late
    assert vm.remove("s1")["error_code"] is None
    assert (vm.snapshots(), vm.disk_reads("vda", 3, "8M")) == (["s2"], True)
    assert other in vm.xml(inactive=True)
