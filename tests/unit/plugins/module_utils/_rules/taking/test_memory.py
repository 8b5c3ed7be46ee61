# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What keeps memory from being saved, and what must not be taken for it."""

from __future__ import annotations

import pytest

from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils.domains import disk, domain

pytest.importorskip("lxml")

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.libraries import parse
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.taking.memory import memory_blockers

INVTSC = "<feature policy='require' name='invtsc'/>"
TSC = "<clock offset='utc'><timer name='rtc' tickpolicy='catchup'/><timer name='tsc' frequency='2400000000'/></clock>"


@pytest.mark.parametrize(
    "around",
    [
        "",
        "<cpu mode='host-passthrough' check='none'/>",
        "<cpu mode='host-passthrough' check='none' migratable='on'/>",
        "<cpu mode='host-model' check='partial'/>",
        "<cpu mode='custom' match='exact'><model>Skylake-Server</model><feature policy='require' name='vmx'/></cpu>",
        "<cpu mode='host-passthrough'><feature policy='disable' name='invtsc'/></cpu>",
        "<cpu mode='host-passthrough'><feature policy='optional' name='invtsc'/></cpu>",
        "<cpu mode='host-passthrough' migratable='off'><feature policy='disable' name='invtsc'/></cpu>",
        f"<cpu mode='host-passthrough' migratable='on'>{INVTSC}</cpu>{TSC}",
        f"<cpu mode='host-passthrough' migratable='off'>{INVTSC}</cpu>{TSC}",
        f"<cpu mode='host-passthrough' migratable='off'/>{TSC}",
        "<features><hyperv mode='custom'><relaxed state='on'/></hyperv></features>",
    ],
)
def test_harmless_processors_do_not_block_memory(around: str) -> None:
    assert memory_blockers(parse(domain(disk(), around))) == ()


@pytest.mark.parametrize(
    ("around", "says"),
    [
        (f"<cpu mode='host-passthrough'>{INVTSC}</cpu>", "invtsc is required"),
        (f"<cpu mode='custom'><model>Haswell</model>{INVTSC}</cpu>", "invtsc is required"),
        ("<cpu mode='custom'><model>Haswell</model><feature name='invtsc'/></cpu>", "invtsc is required"),
        ("<cpu mode='host-passthrough'><feature policy='force' name='invtsc'/></cpu>", "invtsc is required"),
        (f"<cpu mode='host-passthrough'>{INVTSC}</cpu><clock><timer name='tsc' mode='native'/></clock>", "invtsc is"),
        (f"<cpu mode='host-passthrough'>{INVTSC}</cpu><clock><timer name='hpet' frequency='1'/></clock>", "invtsc is"),
        ("<cpu mode='host-passthrough' migratable='off'/>", "migratable='off'"),
        ("<cpu mode='maximum' migratable='off'/>", "migratable='off'"),
        (f"<cpu mode='host-passthrough' migratable='off'>{INVTSC}</cpu>", "invtsc is required"),
        ("<features><hyperv mode='passthrough'/></features><cpu mode='host-passthrough'/>", "Hyper-V"),
        ("<launchSecurity type='sev'/>", "launchSecurity sev"),
    ],
)
def test_blocked_by_the_machine(around: str, says: str) -> None:
    (blocker,) = memory_blockers(parse(domain(disk(), around)))
    assert says in blocker


@pytest.mark.parametrize(
    ("devices", "says"),
    [
        ("<hostdev mode='subsystem' type='pci' managed='yes'/>", "host device of type pci"),
        ("<hostdev mode='subsystem' type='mdev'/>", "host device of type mdev"),
        ("<interface type='hostdev'/>", "host network device"),
        ("<interface type='vdpa'/>", "vDPA"),
        (
            "<filesystem type='mount'><driver type='virtiofs'/><target dir='share'/></filesystem>",
            "virtiofs file system share",
        ),
        ("<filesystem type='mount' accessmode='mapped'><target dir='home'/></filesystem>", "9p file system home"),
        ("<shmem name='ivshmem0' role='peer'/>", "shared memory ivshmem0"),
        ("<shmem name='ivshmem0'/>", "shared memory ivshmem0"),
        ("<video><model type='virtio'><acceleration accel3d='yes'/></model></video>", "3D acceleration"),
        ("<crypto model='virtio' type='qemu'/>", "virtio-crypto"),
        (disk("vdb", "<transient/>"), "vdb is transient"),
        ("<disk type='file'><driver type='vmdk'/><source file='/x'/><target dev='vdb' bus='sata'/></disk>", "vmdk"),
        ("<disk type='vhostuser'><source type='unix' path='/s'/><target dev='vdb' bus='virtio'/></disk>", "vhost-user"),
        ("<disk type='file'><source file='/x'/><target dev='vdb' bus='nvme'/></disk>", "NVMe"),
    ],
)
def test_blocked_by_a_device(devices: str, says: str) -> None:
    (blocker,) = memory_blockers(parse(domain(disk() + devices)))
    assert says in blocker


@pytest.mark.parametrize(
    "devices",
    [
        "<hostdev mode='subsystem' type='usb'/>",
        "<shmem name='ivshmem0' role='master'/>",
        "<interface type='bridge'><source bridge='br0'/></interface>",
        "<video><model type='virtio'><acceleration accel3d='no'/></model></video>",
        "<disk type='file'><driver type='vmdk'/><source file='/x'/><target dev='vdb' bus='sata'/><readonly/></disk>",
        disk("sda", "<readonly/>", device="cdrom"),
    ],
)
def test_harmless_devices_do_not_block_memory(devices: str) -> None:
    assert memory_blockers(parse(domain(disk() + devices))) == ()


def test_every_blocker_is_named() -> None:
    devices = "<hostdev type='pci'/><hostdev type='pci'/><crypto/>"
    around = f"<cpu mode='host-passthrough'>{INVTSC}</cpu>"
    assert len(memory_blockers(parse(domain(devices, around)))) == 4
