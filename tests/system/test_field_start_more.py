# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""More of what a VM's next start needs: secrets, bridges of networks, folders of sockets, huge pages, programs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from .field import MakeVm, agreed, make_vm
from .planted import Planted, planted
from .ready_vm import refused, snapshot, well

__all__ = ("make_vm", "planted")

HOME = "/srv/more"  # nothing of these VMs lies anywhere else
UUID = "5f0c2f5e-1d53-4b9c-9d8e-6a3f4c0b7e11"

DEFINE_SECRET = (
    f"echo \"<secret ephemeral='no' private='yes'><uuid>{UUID}</uuid></secret>\" > /run/more.xml; "
    f"virsh secret-define /run/more.xml; virsh secret-set-value {UUID} $(printf more | base64)"
)
LUKS = f"""<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{HOME}/luks.img'/>
  <target dev='vdb' bus='virtio'/><encryption format='luks'><secret type='passphrase' uuid='{UUID}'/></encryption></disk>"""
MAKE_LUKS = (
    f"qemu-img create -q --object secret,id=s,data=more -f luks -o key-secret=s,iter-time=10 {HOME}/luks.img 1M; "
    f"chmod 666 {HOME}/luks.img; {DEFINE_SECRET}"
)
NETWORK = "<network><name>morenet</name><forward mode='bridge'/><bridge name='morebr0'/></network>"
MAKE_NETWORK = (
    "ip link del morebr0; ip link add morebr0 type bridge; virsh net-destroy morenet; "
    f'echo "{NETWORK}" > /run/more.xml; virsh net-define /run/more.xml; virsh net-start morenet'
)
NBD = f"""<disk type='network' device='disk'><driver name='qemu' type='raw'/>
  <source protocol='nbd' name='more'><host transport='unix' socket='{HOME}/nbd'/></source>
  <target dev='vdb' bus='virtio'/></disk>"""
SERVE = (
    f"[ -e {HOME}/nbd.img ] || truncate -s 1M {HOME}/nbd.img; "
    f"qemu-nbd --fork -t --pid-file={HOME}/nbd.pid -x more -k {HOME}/nbd -f raw {HOME}/nbd.img; chmod 777 {HOME}/nbd"
)


@dataclass(frozen=True)
class Case:
    """What the VM has, what makes that, what takes it away, the code, and how it is brought back."""

    device: str
    before: str
    away: str
    code: str
    back: str
    said: str


CASES = {
    "a secret": Case(
        LUKS, MAKE_LUKS, f"virsh secret-undefine {UUID}", "device_missing", DEFINE_SECRET, f"secret {UUID}"
    ),
    "the bridge of a network": Case(
        "<interface type='network'><source network='morenet'/></interface>",
        MAKE_NETWORK,
        "ip link del morebr0",
        "device_missing",
        "ip link add morebr0 type bridge",
        "morebr0 is gone",
    ),
    "the folder of a socket": Case(
        f"<serial type='unix'><source mode='bind' path='{HOME}/sockets/serial'/></serial>",
        f"mkdir -m 777 {HOME}/sockets",
        f"rm -r {HOME}/sockets",
        "file_missing",
        f"mkdir -m 777 {HOME}/sockets",
        f"{HOME}/sockets",
    ),
    "the folder of a channel's socket": Case(
        f"""<controller type='virtio-serial'/><channel type='unix'><source mode='bind' path='{HOME}/sockets/agent'/>
        <target type='virtio' name='more.0'/></channel>""",
        f"mkdir -m 777 {HOME}/sockets",
        f"rm -r {HOME}/sockets",
        "file_missing",
        f"mkdir -m 777 {HOME}/sockets",
        f"{HOME}/sockets",
    ),
    "the folder of a screen's socket": Case(
        f"<graphics type='vnc' socket='{HOME}/sockets/vnc'/>",
        f"mkdir -m 777 {HOME}/sockets",
        f"rm -r {HOME}/sockets",
        "file_missing",
        f"mkdir -m 777 {HOME}/sockets",
        f"{HOME}/sockets",
    ),
    "the server of a disk": Case(
        NBD, SERVE, f"kill $(cat {HOME}/nbd.pid); rm -f {HOME}/nbd", "file_missing", SERVE, f"{HOME}/nbd"
    ),
}

CLEAR = (
    f"kill $(cat {HOME}/nbd.pid); virsh secret-undefine {UUID}; virsh net-destroy morenet; virsh net-undefine morenet; "
    f"ip link del morebr0; rm -rf {HOME}"
)


@pytest.fixture(autouse=True)
def home(planted: Planted) -> Iterator[None]:
    planted.host.run(f"({CLEAR}) 2>/dev/null; mkdir -p {HOME}; chmod 755 {HOME}", check=False)
    yield
    planted.host.run(f"virsh destroy more1; ({CLEAR}) 2>/dev/null", check=False)


@pytest.mark.parametrize("what", CASES)
def test_more_that_a_start_needs_is_looked_for_before_the_stop(make_vm: MakeVm, planted: Planted, what: str) -> None:
    case, host = CASES[what], planted.host
    host.run(case.before, check=False)
    vm = snapshot(make_vm("more1", directory=HOME, devices=case.device, start=True), disks=["vda"])
    host.run(case.away)
    assert case.said in refused(vm, case.code, vm.revert, "s1")["msg"]
    assert vm.disk_reads("vda", 42)
    well(vm.revert("s1", check=True, power="shutoff"))
    host.run(case.back)
    well(agreed(vm.revert, "s1")[1])
    assert (vm.state, vm.disk_reads("vda", 1)) == ("running", True)


# What is not there and holds up no start.
HARMLESS = {
    "a pair of pipes": (
        f"<serial type='pipe'><source path='{HOME}/pipe'/></serial>",
        f"mkfifo -m 666 {HOME}/pipe.in {HOME}/pipe.out",
    ),
    "a channel's socket in libvirt's folder": (
        """<controller type='virtio-serial'/><channel type='unix'><target type='virtio' name='more.0'/></channel>""",
        "true",
    ),
}


@pytest.mark.parametrize("what", HARMLESS)
def test_what_a_start_does_not_need_is_no_obstacle(make_vm: MakeVm, planted: Planted, what: str) -> None:
    device, before = HARMLESS[what]
    planted.host.run(before)
    vm = snapshot(make_vm("more1", directory=HOME, devices=device, start=True), disks=["vda"])
    well(agreed(vm.revert, "s1")[1])
    assert (vm.state, vm.disk_reads("vda", 1)) == ("running", True)


def test_a_secret_that_has_no_value(make_vm: MakeVm, planted: Planted) -> None:
    planted.host.run(MAKE_LUKS)
    vm = snapshot(make_vm("more1", directory=HOME, devices=LUKS, start=True), disks=["vda"])
    planted.host.put("/run/more.xml", f"<secret private='no'><uuid>{UUID}</uuid></secret>")
    planted.host.run(f"virsh secret-undefine {UUID}; virsh secret-define /run/more.xml")
    assert "has no value" in refused(vm, "device_missing", vm.revert, "s1")["msg"]


# What such hosts never have: the VM, the part beside its devices, the code, what is said, and where the host has it after all.
NEVER = {
    "a socket that QEMU tries again, and libvirt does not": (
        f"""<serial type='unix'><source mode='connect' path='{HOME}/nobody'><reconnect enabled='yes' timeout='1'/></source>
        </serial>""",
        "",
        ("file_missing", f"{HOME}/nobody"),
        "false",
    ),
    "huge pages": (
        "",
        "<memoryBacking><hugepages/></memoryBacking>",
        ("device_missing", "8 huge pages of 2048 KiB"),
        "grep -v '^0$' /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages",
    ),
    "huge pages of a size": (
        "",
        "<memoryBacking><hugepages><page size='64' unit='MiB'/></hugepages></memoryBacking>",
        ("device_missing", "of a size that this host does not have"),
        "test -e /sys/kernel/mm/hugepages/hugepages-65536kB",
    ),
    "a network filter": (
        "<interface type='network'><source network='morenet'/><filterref filter='more-filter'/></interface>",
        "",
        ("device_missing", "network filter more-filter"),
        "false",
    ),
    "a vsock": (
        "<vsock model='virtio'><cid auto='no' address='4242'/></vsock>",
        "",
        ("device_missing", "modprobe vhost_vsock"),
        "test -e /dev/vhost-vsock",
    ),
}


@pytest.mark.parametrize("what", NEVER)
def test_what_is_refused_would_not_start(make_vm: MakeVm, planted: Planted, what: str) -> None:
    device, elements, (code, says), there = NEVER[what]
    if planted.host.run(there, check=False).returncode == 0:
        pytest.skip("this host has it")
    planted.host.run(MAKE_NETWORK, check=False)
    vm = snapshot(make_vm("more1", directory=HOME, devices=device, elements=elements), disks=["vda"])
    assert says in refused(vm, code, vm.revert, "s1", power="running")["msg"]
    assert planted.host.run(["virsh", "start", "more1"], check=False).returncode
    well(agreed(vm.revert, "s1")[1])
