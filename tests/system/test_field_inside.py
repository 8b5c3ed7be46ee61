# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots inside the image, as ``virsh snapshot-create-as`` takes them, beside what this collection does."""

from __future__ import annotations

import pytest

from .field import MakeVm, agreed, make_vm
from .field_disk import create_image
from .planted import planted
from .ready_vm import HOME, home, refused, well

__all__ = ("home", "make_vm", "planted")


@pytest.mark.parametrize("gone", ["drive", "snapshot"])
def test_a_cdrom_that_its_start_would_need(make_vm: MakeVm, gone: str) -> None:
    """libvirt starts it with the definition of then: what that names has to be there."""
    iso = f"{HOME}/seed.iso"
    cdrom = f"""<disk type='file' device='cdrom'><driver name='qemu' type='raw'/><source file='{iso}'/>
      <target dev='sda' bus='sata'/><readonly/></disk>"""
    vm = make_vm("ready1", directory=HOME)
    create_image(vm.host, iso, "raw", size="1M")
    vm.redefine("</devices>", f"{cdrom}</devices>")
    vm.start()
    vm.write("vda", 1)
    vm.virsh("snapshot-create-as", "i1")
    vm.write("vda", 42)
    if gone == "snapshot":
        vm.virsh("change-media", "sda", "--eject", "--live", "--config")
    vm.host.run(["rm", iso])
    assert iso in refused(vm, "file_missing", vm.revert, "i1")["msg"]
    assert vm.state == "running"
    assert vm.disk_reads("vda", 42)
    create_image(vm.host, iso, "raw", size="1M")
    well(agreed(vm.revert, "i1")[1])
    assert (vm.state, vm.disk_reads("vda", 1)) == ("running", True)


def test_what_there_is_now_cannot_be_kept_in_an_overlay(make_vm: MakeVm) -> None:
    vm = make_vm("ready1", directory=HOME)
    vm.write("vda", 1)
    vm.virsh("snapshot-create-as", "i1")
    vm.write("vda", 42)
    assert "keep_current" in refused(vm, "mixed_chain", vm.revert, "i1", keep_current=True)["msg"]
    vm.virsh("snapshot-create-as", "i2")
    well(agreed(vm.revert, "i1")[1])
    assert vm.disk_reads("vda", 1)
    well(agreed(vm.revert, "i2")[1])
    assert vm.disk_reads("vda", 42)


def test_one_of_the_name_of_a_killed_take_is_not_ours(make_vm: MakeVm) -> None:
    vm = make_vm("ready1", directory=HOME)
    vm.write("vda", 1)
    assert vm.planted.snapshot("before(take_steps.Taking, '_switch', die)", vm.name, "s1").get("killed")
    vm.virsh("snapshot-create-as", "s1")
    vm.write("vda", 42)
    entry = vm.take("s1")
    assert entry["recovered"].startswith("Removed what an interrupted run had left"), entry
    assert not any(".vda.s1" in file for file in vm.files()), vm.files()
    assert [(one["name"], one["owned"]) for one in vm.info()["snapshots"]] == [("s1", False)]
    assert not vm.prune(keep_last=0)["changed"]
    assert vm.snapshots() == ["s1"]
    well(agreed(vm.revert, "s1")[1])
    assert vm.disk_reads("vda", 1)
