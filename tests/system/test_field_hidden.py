# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clones where nobody would look: on a device, in a folder called nearly as /dev is, in QEMU's arguments, behind a link.

The VM that has the clone is off in each of them: only its definition and the image's header tell of it.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .field import MakeVm, agreed, make_vm
from .field_disk import Disk, create_image
from .field_vm import FieldVm
from .odd_disks import MIB, Device, device, on_device
from .other_users import filled, well
from .planted import Planted, planted

__all__ = ("device", "make_vm", "planted")

HOME, NEARLY_DEV, AWAY = "/srv/fh", "/devops-fh/vms", "/root/fh-data"


@pytest.fixture(autouse=True)
def home(planted: Planted) -> Iterator[None]:
    planted.host.run(f"rm -rf {HOME} /devops-fh {AWAY}; mkdir -p {HOME} {NEARLY_DEV} {AWAY}")
    yield
    planted.host.run(f"rm -rf {HOME} /devops-fh {AWAY}")


def keeps_the_clone(vm: FieldVm, clone: str) -> None:
    """Remove the snapshot under the clone: the clone reads what it has read, and a note names it."""
    entry = well(agreed(vm.remove, "s1")[1])
    names = (clone, vm.host.run(["realpath", clone]).stdout.strip())
    assert any(name in str(entry["notes"]) for name in names), entry["notes"]
    assert (vm.reads(clone, 1), vm.disk_reads("vda", 42)) == (True, True)


def template(make_vm: MakeVm) -> FieldVm:
    """Return a VM whose image holds 1 in snapshot s1; now it reads 42."""
    return filled(make_vm("fhweb", "vda", directory=HOME))


def test_a_clone_on_a_block_device(make_vm: MakeVm, device: Device) -> None:
    vm, path = template(make_vm), device.make("fhapp", 16 * MIB, "/root")
    vm.host.run(f"qemu-img create -q -f qcow2 -b {HOME}/fhweb.qcow2 -F qcow2 {path} 64M")
    make_vm("fhapp", on_device(path, image_format="qcow2"))
    keeps_the_clone(vm, path)


def test_a_clone_in_a_folder_that_is_called_nearly_as_dev_is(make_vm: MakeVm) -> None:
    vm = template(make_vm)
    clone = f"{NEARLY_DEV}/fhapp.qcow2"
    make_vm("fhapp", Disk("vda", file=clone, backing=f"{HOME}/fhweb.qcow2"))
    keeps_the_clone(vm, clone)


def test_a_clone_that_stands_in_arguments_of_qemu(make_vm: MakeVm) -> None:
    vm = template(make_vm)
    clone = create_image(vm.host, f"{AWAY}/fhapp.qcow2", backing=f"{HOME}/fhweb.qcow2")
    words = f"<qemu:arg value='-drive'/><qemu:arg value='file={clone},format=qcow2,if=none,id=x'/>"
    make_vm("fhapp", "vda", elements=f"<qemu:commandline>{words}</qemu:commandline>")
    keeps_the_clone(vm, clone)


def test_a_clone_behind_a_link_that_names_its_base_beside_that(make_vm: MakeVm) -> None:
    vm, link = template(make_vm), f"{HOME}/fhapp.qcow2"
    vm.host.run(f"cd {HOME} && qemu-img create -q -f qcow2 -b fhweb.qcow2 -F qcow2 fhapp.qcow2")
    vm.host.run(f"mv {link} {AWAY}/ && ln -s {AWAY}/fhapp.qcow2 {link}")
    make_vm("fhapp", Disk("vda", file=link, size=""))
    keeps_the_clone(vm, link)


def test_an_overlay_on_a_device_has_no_neighbour_in_memory(make_vm: MakeVm, device: Device) -> None:
    """virsh took the snapshot, onto a device: the folder of that is /dev, which is the host's memory."""
    vm, path = make_vm("fhweb", "vda", directory=HOME), device.make("fhover", 16 * MIB)
    vm.write("vda", 1)
    vm.virsh("snapshot-create-as", "s1", "--disk-only", "--diskspec", f"vda,stype=block,file={path}")
    vm.write("vda", 42)
    well(agreed(vm.revert, "s1")[1])
    assert (vm.active_file("vda").startswith(HOME), vm.disk_reads("vda", 1)) == (True, True)
