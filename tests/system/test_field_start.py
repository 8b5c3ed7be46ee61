# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a VM's next start needs is looked for before the VM is stopped for a revert."""

from __future__ import annotations

import pytest
from lab.on_host.domains import FIRMWARE

from .field import MakePool, MakeVm, agreed, make_pool, make_vm
from .planted import Planted, planted
from .ready_vm import HOME, home, refused, snapshot, well

__all__ = ("home", "make_pool", "make_vm", "planted")

CDROM = """<disk type='file' device='cdrom'><source file='{home}/seed.iso' {more}/>
  <target dev='sda' bus='sata'/><readonly/></disk>"""

PIPE = "<serial type='pipe'><source path='{home}/pipe'/></serial>"

SHARE = "<filesystem type='mount'><source dir='{home}/share'/><target dir='share'/></filesystem>"

LOG = "<serial type='file'><source path='{home}/logs/serial.log'/></serial>"

BRIDGE = "<interface type='bridge'><source bridge='readybr0'/></interface>"

NETWORK = "<interface type='network'><source network='readynet'/></interface>"

NETWORK_XML = "<network><name>readynet</name><forward mode='bridge'/><bridge name='readybr1'/></network>"

# What the VM has, what makes that, what takes it away, the code, and how it is brought back.
NEEDS = {
    "cdrom": (
        CDROM,
        f"truncate -s 1M {HOME}/seed.iso",
        f"rm {HOME}/seed.iso",
        "file_missing",
        "virsh change-media ready1 sda --eject --config",
    ),
    "a cdrom required at boot": (
        CDROM.replace("{more}", "startupPolicy='requisite'"),
        f"truncate -s 1M {HOME}/seed.iso",
        f"rm {HOME}/seed.iso",
        "file_missing",
        f"touch {HOME}/seed.iso",
    ),
    "pipe": (PIPE, f"mkfifo -m 666 {HOME}/pipe", f"rm {HOME}/pipe", "file_missing", f"mkfifo -m 666 {HOME}/pipe"),
    "share": (SHARE, f"mkdir -m 777 {HOME}/share", f"rmdir {HOME}/share", "file_missing", f"mkdir {HOME}/share"),
    "log": (LOG, f"mkdir {HOME}/logs", f"rm -r {HOME}/logs", "file_missing", f"mkdir {HOME}/logs"),
    "bridge": (
        BRIDGE,
        "ip link del readybr0; ip link add readybr0 type bridge",
        "ip link del readybr0",
        "device_missing",
        "ip link add readybr0 type bridge",
    ),
    "network": (
        NETWORK,
        "ip link del readybr1; ip link add readybr1 type bridge; virsh net-destroy readynet; "
        f'echo "{NETWORK_XML}" > /run/readynet.xml; virsh net-define /run/readynet.xml; virsh net-start readynet',
        "virsh net-destroy readynet",
        "device_missing",
        "virsh net-start readynet",
    ),
}

GONE = "ip link del readybr0; ip link del readybr1; virsh net-destroy readynet; virsh net-undefine readynet"


@pytest.mark.parametrize("what", NEEDS)
def test_what_a_start_needs_is_looked_for_before_the_stop(make_vm: MakeVm, planted: Planted, what: str) -> None:
    device, before, away, code, remedy = NEEDS[what]
    host = planted.host
    host.run(before, check=False)
    try:
        device = device.replace("{home}", HOME).replace("{more}", "")
        vm = snapshot(make_vm("ready1", directory=HOME, devices=device, start=True))
        host.run(away)
        said = refused(vm, code, vm.revert, "s1")
        if remedy.startswith("virsh"):
            assert remedy in said["msg"]
        assert vm.disk_reads("vda", 42)
        well(vm.revert("s1", check=True, power="shutoff"))
        host.run(remedy)
        well(agreed(vm.revert, "s1")[1])
        assert (vm.state, vm.disk_reads("vda", 1)) == ("running", True)
        vm.sound()
    finally:
        host.run(f"virsh destroy ready1; {GONE}", check=False)


def test_what_may_be_missing_is_no_obstacle(make_vm: MakeVm, planted: Planted) -> None:
    device = CDROM.format(home=HOME, more="startupPolicy='optional'")
    planted.host.run(f"truncate -s 1M {HOME}/seed.iso")
    vm = snapshot(make_vm("ready1", directory=HOME, devices=device, start=True))
    planted.host.run(f"rm {HOME}/seed.iso")
    well(agreed(vm.revert, "s1")[1])
    assert (vm.state, vm.disk_reads("vda", 1)) == ("running", True)


def test_a_kernel_that_is_gone(make_vm: MakeVm, planted: Planted) -> None:
    kernel = f"{HOME}/firmware"
    planted.host.run(f"cp {FIRMWARE} {kernel}")
    boot = f"<loader readonly='yes' type='rom'>{kernel}</loader>"
    vm = snapshot(make_vm("ready1", directory=HOME, boot=boot, start=True))
    planted.host.run(f"mv {kernel} {kernel}.away")
    assert kernel in refused(vm, "file_missing", vm.revert, "s1")["msg"]
    vm.off()
    assert kernel in refused(vm, "file_missing", vm.revert, "s1", power="running")["msg"]
    well(agreed(vm.revert, "s1")[1])  # it stays off, and needs nothing


def test_a_volume_in_a_pool_that_was_stopped(make_vm: MakeVm, make_pool: MakePool, planted: Planted) -> None:
    make_pool("readypool", f"{HOME}/pool")
    planted.host.virsh("vol-create-as", "readypool", "seed.img", "1M", "--format", "raw")
    device = """<disk type='volume' device='cdrom'><source pool='readypool' volume='seed.img'/>
      <target dev='sda' bus='sata'/><readonly/></disk>"""
    vm = snapshot(make_vm("ready1", directory=HOME, devices=device, start=True))
    planted.host.virsh("pool-destroy", "readypool")
    assert "virsh pool-start readypool" in refused(vm, "file_missing", vm.revert, "s1")["msg"]
    planted.host.virsh("pool-start", "readypool")
    well(agreed(vm.revert, "s1")[1])


def test_memory_needs_what_it_was_saved_with(make_vm: MakeVm, planted: Planted) -> None:
    planted.host.run(f"truncate -s 1M {HOME}/seed.iso")
    vm = make_vm("ready1", directory=HOME, devices=CDROM.format(home=HOME, more=""), start=True)
    vm.write("vda", 1)
    well(vm.take("s1", include_memory=True))
    vm.write("vda", 42)
    vm.virsh("change-media", "sda", "--eject", "--config", "--live", "--force")
    planted.host.run(f"rm {HOME}/seed.iso")
    refused(vm, "file_missing", vm.revert, "s1")
    planted.host.run(f"truncate -s 1M {HOME}/seed.iso")
    well(agreed(vm.revert, "s1")[1])
    assert (vm.state, vm.disk_reads("vda", 1)) == ("running", True)
