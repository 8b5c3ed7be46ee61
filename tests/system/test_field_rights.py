# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""QEMU's rights to a VM's directories and images, looked at beforehand."""

from __future__ import annotations

import pytest

from .field import MakeVm, agreed, make_vm
from .field_disk import Disk
from .planted import Planted, planted
from .ready_vm import HOME, home, refused, snapshot, well

__all__ = ("home", "make_vm", "planted")


@pytest.mark.parametrize("running", [False, True])
def test_a_directory_that_qemu_may_not_pass(make_vm: MakeVm, planted: Planted, running: bool) -> None:
    vm = make_vm("ready1", directory=HOME, start=running)
    closed = f"{HOME}/closed"
    planted.host.run(f"mkdir -m 700 {closed}; mkdir -m 777 {closed}/inner; ln -s {closed}/inner {HOME}/link")
    for directory in (closed, f"{closed}/inner", f"{HOME}/link"):
        said = refused(vm, "overlay_dir_unusable", vm.take, "s1", overlay_dir=directory)
        assert f"chmod o+x {closed}" in said["msg"]
    planted.host.run(f"chmod o+x {closed}")
    well(agreed(vm.take, "s1", overlay_dir=f"{HOME}/link")[1])
    planted.host.run(f"chmod 700 {closed}")
    if running:
        refused(vm, "overlay_dir_unusable", vm.revert, "s1")
        planted.host.run(f"chmod o+x {closed}")
        well(agreed(vm.revert, "s1")[1])
    else:
        refused(vm, "overlay_dir_unusable", vm.revert, "s1", power="running")
        planted.host.run(f"chmod o+x {closed}")
        vm.start()


def test_a_state_that_qemu_cannot_get_at_any_more(make_vm: MakeVm, planted: Planted) -> None:
    planted.host.run(f"mkdir {HOME}/base {HOME}/over")
    vm = make_vm("ready1", Disk("vda", file=f"{HOME}/base/ready1.qcow2"), directory=HOME, start=True)
    vm.write("vda", 1)
    well(vm.take("s1", overlay_dir=f"{HOME}/over"))
    vm.write("vda", 42)
    planted.host.run(f"chmod 700 {HOME}/base")
    said = refused(vm, "file_unreachable", vm.revert, "s1")
    assert f"chmod o+x {HOME}/base" in said["msg"]
    planted.host.run(f"chmod 755 {HOME}/base")
    well(agreed(vm.revert, "s1")[1])


def test_a_root_owned_image_of_a_vm_that_is_off_is_healthy(make_vm: MakeVm, planted: Planted) -> None:
    vm = make_vm("ready1", directory=HOME)
    planted.host.run(f"chown root:root {HOME}/ready1.qcow2; chmod 600 {HOME}/ready1.qcow2")
    well(agreed(vm.take, "s1")[1])
    vm.start()
    vm.write("vda", 42)
    well(agreed(vm.revert, "s1")[1])
    assert vm.state == "running"


OWN = """<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>
  <source file='{file}'><seclabel model='dac' relabel='no'/></source><target dev='vda' bus='virtio'/></disk>"""


@pytest.mark.parametrize("running", [False, True])
def test_an_overlay_where_libvirt_changes_no_owner(make_vm: MakeVm, planted: Planted, running: bool) -> None:
    """QEMU has it through a group: an overlay of root's that is root's alone would be closed to it."""
    file = f"{HOME}/ready1.qcow2"
    vm = make_vm("ready1", Disk("vda", file=file, xml=OWN.replace("{file}", file)), directory=HOME)
    planted.host.run(f"chown root:kvm {file}; chmod 660 {file}")
    if running:
        vm.start()
    well(agreed(vm.take, "s1")[1])
    assert planted.host.run(["stat", "-c", "%U %a", vm.active_file("vda")]).stdout.split() == ["libvirt-qemu", "600"]
    if not running:
        vm.start()
    vm.write("vda", 42)
    assert vm.disk_reads("vda", 42)


def test_a_state_that_qemu_may_not_read(make_vm: MakeVm, planted: Planted) -> None:
    file = f"{HOME}/ready1.qcow2"
    label = "<seclabel type='static' model='dac' relabel='no'><label>libvirt-qemu:kvm</label></seclabel>"
    vm = make_vm("ready1", directory=HOME, elements=label)
    planted.host.run(f"chown root:kvm {file}; chmod 660 {file}")
    vm.start()
    snapshot(vm)
    planted.host.run(f"chmod 600 {file}")
    assert f"chown libvirt-qemu {file}" in refused(vm, "file_unreachable", vm.revert, "s1")["msg"]
    planted.host.run(f"chown libvirt-qemu {file}")
    well(agreed(vm.revert, "s1")[1])
    assert (vm.state, vm.disk_reads("vda", 1)) == ("running", True)
