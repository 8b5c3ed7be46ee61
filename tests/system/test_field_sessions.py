# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Users' own daemons have pools of their own, called as another user's or the system's are."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .field import MakePool, MakeVm, agreed, make_pool, make_vm
from .field_disk import create_image
from .other_users import HOME, home, names, template, well
from .planted import Planted, planted

__all__ = ("home", "make_pool", "make_vm", "planted")

USERS = ("/home/fupaul", "/home/fuzoe")
POOL = """<pool type='dir'><name>{name}</name><target><path>{path}</path></target></pool>"""
DOMAIN = """<domain type='qemu'><name>fuclone</name><uuid>5c1f9e6e-6a0b-4b4e-9b52-2a9c8a7d6f01</uuid><devices>
<disk type='volume' device='disk'><driver name='qemu' type='qcow2'/><source pool='{pool}' volume='clone.qcow2'/>
<target dev='vda' bus='virtio'/></disk></devices></domain>"""


@pytest.fixture(autouse=True)
def users(planted: Planted) -> Iterator[None]:
    planted.host.run(["rm", "-rf", *USERS])
    yield
    planted.host.run(["rm", "-rf", *USERS])


@pytest.mark.parametrize("number", [0, 1])
def test_a_clone_in_a_users_pool_that_is_called_as_others_are(
    make_vm: MakeVm, make_pool: MakePool, number: int
) -> None:
    """Both users and the system have a pool of this name; one user's VM has a clone in it."""
    make_pool("fupool", f"{HOME}/system/pool")
    vm = template(make_vm, HOME)
    well(vm.take("s1"))
    vm.write("vda", 42)
    for user in USERS:
        place = f"{HOME}/a/b/{user[1:]}/pool"
        vm.host.run(["mkdir", "-p", place])
        vm.host.put(f"{user}/.config/libvirt/storage/fupool.xml", POOL.format(name="fupool", path=place))
    clone = create_image(vm.host, f"{HOME}/a/b/{USERS[number][1:]}/pool/clone.qcow2", backing=f"{HOME}/futmpl.qcow2")
    vm.host.put(f"{USERS[number]}/.config/libvirt/qemu/fuclone.xml", DOMAIN.format(pool="fupool"))
    entry = well(agreed(vm.remove, "s1")[1])
    assert vm.reads(clone, 1), entry["msg"]
    assert names(entry["notes"], f"{HOME}/futmpl.qcow2 stays", clone), entry["notes"]
    assert vm.disk_reads("vda", 42)


def test_a_clone_that_only_a_users_pool_has(make_vm: MakeVm) -> None:
    """Nobody has made a VM of it yet."""
    vm = template(make_vm, HOME)
    well(vm.take("s1"))
    vm.write("vda", 42)
    place = f"{HOME}/a/b/c/pool"
    clone = create_image(vm.host, f"{place}/clone.qcow2", backing=f"{HOME}/futmpl.qcow2")
    vm.host.put(f"{USERS[0]}/.config/libvirt/storage/mine.xml", POOL.format(name="mine", path=place))
    entry = well(agreed(vm.remove, "s1")[1])
    assert vm.reads(clone, 1), entry["msg"]
    assert names(entry["notes"], clone), entry["notes"]
