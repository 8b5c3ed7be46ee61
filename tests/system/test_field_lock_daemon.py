# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host whose libvirt locks disks itself (``lock_manager = "lockd"``), as is recommended for storage that hosts share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .field import MakeVm, agreed, make_vm
from .other_users import filled, well
from .planted import Planted, planted

__all__ = ("make_vm", "planted")

HOME, CONFIG = "/srv/fl", "/etc/libvirt/qemu.conf"


@pytest.fixture(autouse=True)
def lockd(planted: Planted) -> Iterator[None]:
    host = planted.host
    if host.run("command -v virtlockd && test -d /run/systemd/system", check=False).returncode:
        pytest.skip(f"{host.name} has no virtlockd")
    host.run(f"mkdir -p {HOME}; cp -a {CONFIG} /run/fl-qemu.conf; echo 'lock_manager = \"lockd\"' >> {CONFIG}")
    restart = "systemctl reset-failed libvirtd; systemctl restart libvirtd"
    host.run(restart)
    yield
    host.run(f"cp -a /run/fl-qemu.conf {CONFIG}; {restart}; rm -rf {HOME}")


def test_a_running_vms_active_image_is_merged(make_vm: MakeVm) -> None:
    """Of a lower layer, libvirt's own commit leaves a lock behind (seen with 7.0): see `guide_limits`."""
    vm = filled(make_vm("flweb", "vda", directory=HOME, start=True))
    assert vm.host.run("ls -l /proc/$(pidof virtlockd)/fd | grep -c flweb.vda.s1").stdout.strip() == "1"
    well(agreed(vm.remove, "s1")[1])
    assert (vm.disk_reads("vda", 42), vm.files()) == (True, {f"{HOME}/flweb.qcow2"})
    well(agreed(vm.take, "s2")[1])
    well(agreed(vm.revert, "s2")[1])
    well(agreed(vm.remove, "s2")[1])
    assert (vm.disk_reads("vda", 42), vm.files()) == (True, {f"{HOME}/flweb.qcow2"})


def test_a_merge_that_libvirts_own_lock_stops_goes_on_while_the_vm_is_off(make_vm: MakeVm) -> None:
    vm = filled(make_vm("flweb", "vda", directory=HOME, start=True))
    for number, name in enumerate(("s2", "s3"), 2):
        well(vm.take(name))
        vm.write("vda", number)
    for name in ("s1", "s2", "s3"):
        if vm.remove(name)["error_code"]:
            break
    vm.off()
    vm.remove(all_snapshots=True)
    assert vm.snapshots() == []
    assert (vm.disk_reads("vda", 3), vm.files()) == (True, {f"{HOME}/flweb.qcow2"})
