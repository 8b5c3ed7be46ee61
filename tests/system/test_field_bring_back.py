# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command that info names for an overlay that is kept gives the VM its data back, as the disk that it was."""

from __future__ import annotations

import pytest

from .field import MakeVm, agreed, make_vm
from .field_disk import Disk
from .field_vm import FieldVm
from .other_users import HOME, filled, home, well
from .planted import planted

__all__ = ("home", "make_vm", "planted")


def brought_back(vm: FieldVm, target: str) -> None:
    (kept,) = vm.info()["kept"]
    assert kept["target"] == target, kept
    vm.host.run(kept["bring_back"])
    assert vm.active_file(target) == kept["file"]
    vm.start()
    assert vm.disk_reads(target, 42)
    vm.sound()


@pytest.mark.parametrize(("target", "bus"), [("vdb", "virtio"), ("sdb", "sata"), ("sdb", "scsi")])
def test_a_detached_disk(make_vm: MakeVm, target: str, bus: str) -> None:
    file = f"{HOME}/fuweb-{target}.qcow2"
    element = f"""<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>
      <source file='{file}'/><target dev='{target}' bus='{bus}'/></disk><controller type='scsi' model='virtio-scsi'/>"""
    vm = filled(make_vm("fuweb", "vda", Disk(target, file=file, xml=element), directory=HOME), "vda", target)
    vm.virsh("detach-disk", target, "--config")
    brought_back(vm, target)
    assert f"<target dev='{target}' bus='{bus}'/>" in vm.xml(inactive=True)
    well(agreed(vm.remove, "s1")[1])
    assert vm.disk_reads(target, 42)


def test_a_disk_that_was_put_on_another_image(make_vm: MakeVm) -> None:
    vm = filled(make_vm("fuweb", "vda", "vdb", directory=HOME), "vda", "vdb")
    vm.host.run(["qemu-img", "create", "-q", "-f", "qcow2", f"{HOME}/other.qcow2", "64M"])
    vm.redefine(vm.active_file("vdb"), f"{HOME}/other.qcow2")
    brought_back(vm, "vdb")
    well(agreed(vm.revert, "s1")[1])
    assert vm.disk_reads("vdb", 1)
