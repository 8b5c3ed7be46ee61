# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""VMs whose own disks are volumes of a pool, which may be stopped or gone."""

from __future__ import annotations

import pytest

from .field import MakePool, MakeVm, agreed, make_pool, make_vm
from .field_disk import Disk, create_image
from .field_vm import FieldVm
from .other_users import POOL, POOL_HOME, app, depths, home, names, volume, well
from .planted import Planted, planted

__all__ = ("home", "make_pool", "make_vm", "planted")


def volume_vm(make_vm: MakeVm, make_pool: MakePool, *disks: Disk, power: str) -> FieldVm:
    make_pool(POOL, POOL_HOME)
    return app(make_vm, *disks, power=power)


VOLUMES = {
    "qcow2": [volume("vol.qcow2")],
    "raw": [volume("vol.raw", image_format="raw")],
    "a file and a volume": [Disk("vda"), volume("vol.qcow2", target="vdb")],
    "two volumes": [volume("vol.qcow2"), volume("vol2.raw", image_format="raw", target="vdb")],
}


@pytest.mark.parametrize("power", ["off", "running"])
@pytest.mark.parametrize("disks", VOLUMES)
def test_the_life_of_a_vm_on_volumes(make_vm: MakeVm, make_pool: MakePool, disks: str, power: str) -> None:
    vm = volume_vm(make_vm, make_pool, *VOLUMES[disks], power=power)
    targets = [disk.target for disk in VOLUMES[disks]]
    images = {target: vm.active_file(target) for target in targets}
    assert depths(vm) == dict.fromkeys(targets, 1)
    for target in targets:
        vm.write(target, 1)
    entry = well(agreed(vm.take, "s1")[1])
    assert [disk["target"] for disk in entry["snapshot"]["disks"]] == targets
    assert depths(vm) == dict.fromkeys(targets, 2)
    for target in targets:
        vm.write(target, 2)
    well(agreed(vm.revert, "s1")[1])
    assert all(vm.disk_reads(target, 1) for target in targets)
    for target in targets:
        vm.write(target, 3)
    vm.sound()
    well(agreed(vm.remove, "s1")[1])
    assert {target: vm.active_file(target) for target in targets} == images
    assert all(vm.disk_reads(target, 3) for target in targets)
    assert depths(vm) == dict.fromkeys(targets, 1)
    assert {*vm.files()} <= {*images.values()}
    vm.sound()
    if power == "running":
        vm.off()
    vm.start()
    assert all(vm.disk_reads(target, 3) for target in targets)


def test_a_volume_that_is_based_on_another(make_vm: MakeVm, make_pool: MakePool, planted: Planted) -> None:
    golden = create_image(planted.host, f"{POOL_HOME}/golden.qcow2")
    planted.host.run(["qemu-io", "-f", "qcow2", "-c", "write -P 1 0 64k", golden])
    vm = volume_vm(make_vm, make_pool, volume("vol.qcow2", backing=golden), power="running")
    assert depths(vm) == {"vda": 2}
    well(agreed(vm.take, "s1")[1])
    vm.write("vda", 2)
    well(agreed(vm.remove, "s1")[1])
    assert depths(vm) == {"vda": 2}
    assert vm.disk_reads("vda", 2)
    assert vm.reads(golden, 1)
    vm.sound()


def test_a_volume_of_a_pool_that_is_not_started(make_vm: MakeVm, make_pool: MakePool) -> None:
    """The pool's definition says where it is, or else the refusal says what to do; check mode the same."""
    vm = volume_vm(make_vm, make_pool, volume("vol.qcow2"), power="off")
    vm.host.virsh("pool-destroy", POOL)
    entry = agreed(vm.take, "s1")[1]
    if entry["error_code"]:
        assert f"virsh pool-start {POOL}" in entry["msg"], entry["msg"]
        assert names(vm.info()["problems"], POOL)
        vm.host.virsh("pool-start", POOL)
        well(agreed(vm.take, "s1")[1])
    assert depths(vm) == {"vda": 2}


def test_a_volume_of_a_pool_that_is_gone(make_vm: MakeVm, make_pool: MakePool) -> None:
    vm = volume_vm(make_vm, make_pool, volume("vol.qcow2"), power="off")
    vm.host.virsh("pool-destroy", POOL)
    vm.host.virsh("pool-undefine", POOL)
    entry = agreed(vm.take, "s1")[1]
    assert (entry["changed"], entry["failed"]) == (False, True), entry["msg"]
    assert entry["error_code"] not in {"internal_error", "libvirt_error"}, entry["msg"]
    assert POOL in entry["msg"], entry["msg"]
    assert vm.snapshots() == []
    assert names(vm.info()["problems"], POOL), vm.info()["problems"]
