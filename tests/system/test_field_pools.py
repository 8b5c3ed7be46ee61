# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Volumes of a storage pool as a VM's disks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lab.api import Host

from .field import MakePool, MakeVm, make_pool, make_vm
from .field_disk import Disk
from .odd_disks import covered, left_out, refused, removed, reverted, taken, whole_life
from .planted import Planted, planted

__all__ = ("make_pool", "make_vm", "planted")


def in_pool(pool: str, volume: str, target: str = "vda", image_format: str = "qcow2") -> Disk:
    element = f"""<disk type='volume' device='disk'><driver name='qemu' type='{image_format}'/>
      <source pool='{pool}' volume='{volume}'/><target dev='{target}' bus='virtio'/></disk>"""
    return Disk(target, xml=element)


@pytest.fixture
def pool(make_pool: MakePool, planted: Planted) -> Iterator[str]:
    make_pool("diskspool", "/srv/diskspool")
    yield "diskspool"
    planted.host.run("rm -rf /srv/diskspool")


def volume(host: Host, name: str, image_format: str = "qcow2") -> None:
    host.virsh("vol-create-as", "diskspool", name, "32M", "--format", image_format)


@pytest.mark.parametrize(
    ("image_format", "running"), [("qcow2", True), ("raw", False)], ids=["qcow2-running", "raw-off"]
)
def test_a_volume_of_a_pool_lives_as_a_file_does(
    make_vm: MakeVm, planted: Planted, pool: str, image_format: str, running: bool
) -> None:
    volume(planted.host, "v1.img", image_format)
    vm = make_vm("disksvol", in_pool(pool, "v1.img", image_format=image_format), directories=("/srv/diskspool",))
    layers = vm.info()["chains"][0]["layers"]
    assert [layer["file"] for layer in layers] == ["/srv/diskspool/v1.img"]
    whole_life(vm, "vda", running)
    assert vm.active_file("vda") == "/srv/diskspool/v1.img"


def test_a_volume_beside_stays_a_volume(make_vm: MakeVm, planted: Planted, pool: str) -> None:
    """What is defined anew by us names the other disk as it was named."""
    volume(planted.host, "v2.img")
    vm = make_vm("disksvol2", "vda", in_pool(pool, "v2.img", "vdb"))
    taken(vm, "s1", disks=("vda",))
    vm.write("vda", 4)
    reverted(vm, "s1")
    removed(vm, "s1")
    xml = vm.xml(inactive=True)
    assert "volume='v2.img'" in xml
    assert "resolved" not in xml


def test_a_volume_of_a_pool_that_is_not_active(make_vm: MakeVm, planted: Planted, pool: str) -> None:
    volume(planted.host, "v3.img")
    vm = make_vm("disksvol3", "vda", in_pool(pool, "v3.img", "vdb"), directories=("/srv/diskspool",))
    taken(vm, "s1")
    vm.write("vdb", 2)
    planted.host.virsh("pool-destroy", pool)
    assert f"virsh pool-start {pool}" in refused(vm, "volume_not_found", vm.revert, "s1")["msg"]
    assert f"virsh pool-start {pool}" in refused(vm, "volume_not_found", vm.remove, "s1")["msg"]
    planted.host.virsh("pool-start", pool)
    reverted(vm, "s1")
    removed(vm, "s1")
    before, found, after = vm.xml(inactive=True).rpartition("<disk type='file'")  # on the volume again
    after = after.replace("<source file='/srv/diskspool/v3.img'/>", f"<source pool='{pool}' volume='v3.img'/>")
    vm.define(before + found.replace("file", "volume") + after)
    planted.host.virsh("pool-destroy", pool)
    assert f"virsh pool-start {pool}" in vm.info()["problems"][0]
    assert f"virsh pool-start {pool}" in refused(vm, "disk_not_covered", vm.take, "s2")["msg"]
    assert "pool-start" in left_out(taken(vm, "s2", on_uncovered="leave_out"))["vdb"]
    removed(vm, "s2")
    planted.host.virsh("pool-start", pool)
    assert covered(taken(vm, "s3")) == ["vda", "vdb"]
    vm.start()
