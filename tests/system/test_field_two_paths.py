# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One image by two paths that no link explains: a bind mount, or one file system that is mounted twice."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .field import MakeVm, agreed, make_vm
from .field_disk import Disk, create_image
from .field_vm import FieldVm
from .odd_disks import both, whole_life
from .other_users import filled, names, well
from .planted import Planted, planted

__all__ = ("make_vm", "planted")

FIRST, SECOND = "/srv/ft", "/srv/ftagain"


@pytest.fixture(autouse=True)
def home(planted: Planted) -> Iterator[None]:
    away = f"umount {SECOND}; rm -rf {FIRST} {SECOND}"
    planted.host.run(away, check=False)
    planted.host.run(f"mkdir -p {FIRST}/kept {SECOND} && mount --bind {FIRST} {SECOND}")
    yield
    planted.host.run(away, check=False)


def moved(vm: FieldVm) -> FieldVm:
    """Return a VM whose definition has its disks by the other path now."""
    vm.define(vm.xml(inactive=True).replace(f"{FIRST}/", f"{SECOND}/"))
    return vm


@both
@pytest.mark.parametrize("how", ["remove", "revert", "prune"])
def test_a_vm_with_snapshots_whose_definition_has_another_path(make_vm: MakeVm, running: bool, how: str) -> None:
    vm = moved(filled(make_vm("ftweb", "vda", directory=FIRST)))
    if running:
        vm.start()
    vm.sound()
    if how == "revert":
        well(agreed(vm.revert, "s1")[1])
        assert vm.disk_reads("vda", 1)
        vm.write("vda", 42)
    entry = well(agreed(vm.prune, keep_last=0)[1] if how == "prune" else agreed(vm.remove, "s1")[1])
    assert entry["notes"] == [], entry["notes"]
    assert vm.disk_reads("vda", 42)
    assert vm.files() == {f"{FIRST}/ftweb.qcow2"}
    vm.sound()


@both
def test_a_chain_that_libvirt_was_told_by_the_other_path(make_vm: MakeVm, running: bool) -> None:
    base = create_image(make_vm("ftbase", "vda", directory=FIRST).host, f"{FIRST}/golden.qcow2")
    vm = make_vm("ftweb", Disk("vda", backing=base), directory=FIRST)
    below = f"<backingStore type='file'><format type='qcow2'/><source file='{SECOND}/golden.qcow2'/></backingStore>"
    vm.redefine("<target dev='vda'", f"{below}<target dev='vda'")
    whole_life(vm, "vda", running)
    vm.sound()


@both
def test_a_vm_whose_path_changes_between_two_snapshots(make_vm: MakeVm, running: bool) -> None:
    vm = moved(filled(make_vm("ftweb", "vda", directory=FIRST)))
    if running:
        vm.start()
    well(agreed(vm.take, "s2")[1])
    vm.write("vda", 43)
    vm.sound()
    well(agreed(vm.remove, "s1")[1])
    assert vm.disk_reads("vda", 43)
    well(agreed(vm.revert, "s2")[1])
    assert vm.disk_reads("vda", 42)
    well(agreed(vm.remove, "s2")[1])
    assert vm.disk_reads("vda", 42)
    assert vm.files() == {f"{FIRST}/ftweb.qcow2"}


def test_a_vm_that_writes_to_a_frozen_image_by_the_other_path(make_vm: MakeVm) -> None:
    vm = filled(make_vm("ftweb", "vda", directory=FIRST))
    make_vm("ftrescue", Disk("vda", file=f"{SECOND}/ftweb.qcow2", size=""), directory=FIRST)
    assert names(vm.info()["problems"], "ftrescue")
    for action in (vm.remove, vm.revert):
        assert agreed(action, "s1")[1]["error_code"] == "frozen_image_written"


def test_a_vm_on_an_overlay_by_the_other_path(make_vm: MakeVm) -> None:
    """Its own snapshot's overlay is another VM's disk: nobody's to delete."""
    vm = filled(make_vm("ftweb", "vda", directory=FIRST))
    overlay = vm.active_file("vda")
    vm.virsh("detach-disk", "vda", "--config")
    make_vm("ftother", Disk("vda", file=overlay.replace(FIRST, SECOND), size=""), directory=FIRST)
    agreed(vm.remove, "s1")
    vm.prune(orphans=True, detached=True)
    assert vm.reads(overlay, 42)
