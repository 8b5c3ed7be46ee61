# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Directories that a bind mount shows under a second path, where pools and other VMs look into them too."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .field import MakePool, MakeVm, agreed, make_pool, make_vm
from .field_disk import Disk, create_image
from .odd_disks import both, well, whole_life
from .planted import Planted, planted

__all__ = ("make_pool", "make_vm", "planted")

HOME, AGAIN = "/srv/fb", "/srv/fbagain"


@pytest.fixture(autouse=True)
def home(planted: Planted) -> Iterator[None]:
    away = f"umount {AGAIN}; rm -rf {HOME} {AGAIN}"
    planted.host.run(away, check=False)
    planted.host.run(f"mkdir -p {HOME}/kept {AGAIN} && mount --bind {HOME} {AGAIN}")
    yield
    planted.host.run(away, check=False)


@both
def test_a_pool_on_the_other_path_is_no_stranger(make_vm: MakeVm, make_pool: MakePool, running: bool) -> None:
    make_pool("fbpool", AGAIN)
    vm = make_vm("fbweb", "vda", directory=HOME)
    whole_life(vm, "vda", running)
    assert vm.files() == {f"{HOME}/fbweb.qcow2"}


def test_disks_of_one_vm_by_both_paths(make_vm: MakeVm) -> None:
    vm = make_vm("fbweb", "vda", Disk("vdb", file=f"{AGAIN}/fbweb-vdb.qcow2"), directory=HOME)
    whole_life(vm, "vdb", running=False)
    assert vm.files() == {f"{HOME}/fbweb.qcow2", f"{HOME}/fbweb-vdb.qcow2"}


@pytest.mark.parametrize("mounted", [True, False])
def test_a_clone_that_names_its_base_by_the_other_path_is_not_merged_into(make_vm: MakeVm, mounted: bool) -> None:
    """Nor where nothing is at that path now: it is mounted again tomorrow."""
    vm = make_vm("fbweb", "vda", directory=HOME)
    vm.write("vda", 1)
    well(vm.take("s1"))
    clone = create_image(vm.host, f"{HOME}/clone.qcow2", backing=f"{AGAIN}/fbweb.qcow2")
    vm.write("vda", 2)
    if not mounted:
        vm.host.run(["umount", AGAIN])
    entry = well(agreed(vm.remove, "s1")[1])
    if not mounted:
        vm.host.run(["mount", "--bind", HOME, AGAIN])
    assert f"{HOME}/clone.qcow2 is based on it" in str(entry["notes"]), entry["msg"]
    assert vm.reads(clone, 1)
    assert vm.disk_reads("vda", 2)


def test_a_detached_overlay_is_pruned_once(make_vm: MakeVm, make_pool: MakePool) -> None:
    make_pool("fbpool", AGAIN)
    vm = make_vm("fbweb", "vda", "vdb", directory=HOME)
    well(vm.take("s1"))
    vm.write("vdb", 3)
    path = vm.active_file("vdb")
    vm.virsh("detach-disk", "vdb", "--config")
    well(vm.remove("s1"))
    assert vm.info()["unknown_overlays"] == []
    entry = well(agreed(vm.prune, orphans=True, detached=True)[1])
    assert (entry["orphans_removed"], entry["msg"]) == ([path], "1 kept overlay deleted")
    vm.sound()
