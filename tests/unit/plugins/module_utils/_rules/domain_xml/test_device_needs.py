# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each device needs of the host, and what it does not."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.device_needs import devices_need


def found(devices: str, cold: bool = True) -> list[str]:
    domain = ElementTree.fromstring(f"<domain><devices>{devices}</devices></domain>")  # noqa: S314 - ours
    return [f"{one.kind}:{one.what}" for one in devices_need(domain, cold)]


@pytest.mark.parametrize(
    ("devices", "expected"),
    [
        ("<interface type='network'><source network='{n}'/></interface>", ["network:{n}"]),
        ("<interface type='bridge'><source bridge='br0'/></interface>", ["link:br0"]),
        ("<interface type='bridge'><source bridge='br0'/><virtualport type='openvswitch'/></interface>", []),
        ("<interface type='direct'><source dev='eth0'/></interface>", ["link:eth0"]),
        ("<interface type='user'/>", []),
        ("<interface type='user'><rom file='/srv/rom'/></interface>", ["file:/srv/rom"]),
        (
            "<hostdev mode='subsystem' type='pci'><source><address domain='0x0' bus='0x3b' slot='0x00' function='0x1'/>"
            "</source></hostdev>",
            ["device:/sys/bus/pci/devices/0000:3b:00.1"],
        ),
        (
            "<hostdev mode='subsystem' type='usb'><source><vendor id='0x1234'/><product id='0xbeef'/></source></hostdev>",
            ["device:usb:1234:beef"],
        ),
        (
            "<hostdev mode='subsystem' type='usb'><source startupPolicy='optional'><vendor id='0x1'/><product id='0x2'/>"
            "</source></hostdev>",
            [],
        ),
        ("<serial type='dev'><source path='/dev/ttyS9'/></serial>", ["file:/dev/ttyS9"]),
        ("<serial type='pty'><source path='/dev/pts/3'/></serial>", []),
        ("<channel type='unix'><source mode='bind' path='/run/a'/></channel>", ["file:/run"]),
        ("<channel type='unix'><source mode='connect' path='/run/a'/></channel>", ["file:/run/a"]),
        ("<filesystem type='mount'><source dir='/srv/x'/></filesystem>", ["file:/srv/x"]),
        ("<memory model='nvdimm'><source><path>/srv/n</path></source></memory>", ["file:/srv/n"]),
        ("<rng model='virtio'><backend model='random'>/dev/hwrng</backend></rng>", ["file:/dev/hwrng"]),
        ("<interface type='vhostuser'><source path='/run/v/a' mode='server'/></interface>", ["file:/run/v"]),
        ("<interface type='user'><filterref filter='f'/></interface>", ["filter:f"]),
        (
            "<interface type='user'><backend tap='/dev/net/tap' vhost='/dev/v'/></interface>",
            ["file:/dev/net/tap", "file:/dev/v"],
        ),
        ("<serial type='pty'><log file='/srv/logs/a'/></serial>", ["file:/srv/logs"]),
        (
            "<channel type='unix'><source mode='connect' path='/run/a'><reconnect enabled='yes'/></source></channel>",
            ["file:/run/a"],
        ),
        (
            "<channel type='unix'><source mode='connect' path='/run/a'><reconnect enabled='yes'/><seclabel relabel='no'/>"
            "</source></channel>",
            [],
        ),
        (
            "<interface type='vhostuser'><source path='/run/v' mode='client'><reconnect enabled='yes'/></source></interface>",
            [],
        ),
        ("<channel type='unix'><source mode='bind' path='/var/lib/libvirt/qemu/channel/target/a'/></channel>", []),
        ("<graphics type='vnc' socket='/run/g/a'/>", ["file:/run/g"]),
        ("<graphics type='vnc'><listen type='socket' socket='/run/g/a'/></graphics>", ["file:/run/g"]),
        ("<video><model><acceleration rendernode='/dev/dri/r'/></model></video>", ["file:/dev/dri/r"]),
        ("<shmem name='a'><server path='/run/s'/></shmem>", ["file:/run/s"]),
        ("<vsock><cid auto='no' address='42'/></vsock>", ["device:/dev/vhost-vsock", "cid:42"]),
        ("<vsock><cid auto='yes' address='3'/></vsock>", ["device:/dev/vhost-vsock"]),
        (
            "<rng><backend model='egd' type='unix'><source mode='connect' path='/run/e'/></backend></rng>",
            ["file:/run/e"],
        ),
        (
            "<tpm><backend type='emulator'><encryption secret='u'/></backend></tpm>",
            ["secret:u", "tpm:swtpm"],
        ),
        ("<tpm><backend type='passthrough'><device path='/dev/tpm0'/></backend></tpm>", ["file:/dev/tpm0"]),
        (
            "<tpm><backend type='external'><source type='unix' mode='connect' path='/run/t'/></backend></tpm>",
            ["file:/run/t"],
        ),
        (
            "<hostdev type='scsi'><source><adapter name='scsi_host2'/><address bus='0' target='1' unit='3'/></source></hostdev>",
            ["device:/sys/bus/scsi/devices/2:0:1:3"],
        ),
        (
            "<hostdev type='scsi'><source protocol='iscsi'><auth><secret type='iscsi' uuid='u'/></auth></source></hostdev>",
            ["secret:u"],
        ),
        (
            "<filesystem><source dir='/srv/x'/><binary path='/opt/virtiofsd'/></filesystem>",
            ["file:/srv/x", "file:/opt/virtiofsd"],
        ),
    ],
)
def test_each_device_needs_its_own(devices: str, expected: list[str]) -> None:
    assert found(devices) == expected


def test_a_device_that_is_required_at_boot_may_be_missing_where_memory_is_loaded() -> None:
    device = (
        "<hostdev type='usb'><source startupPolicy='requisite'><vendor id='0x1'/><product id='0x2'/></source></hostdev>"
    )
    assert found(device) == ["device:usb:0001:0002"]
    assert found(device, cold=False) == []


def test_qemu_takes_a_pair_of_pipes_first(tmp_path: Path) -> None:
    pipe = f"<serial type='pipe'><source path='{tmp_path}/pipe'/></serial>"
    assert found(pipe) == [f"file:{tmp_path}/pipe"]
    (tmp_path / "pipe.in").touch()
    assert found(pipe) == [f"file:{tmp_path}/pipe"]
    (tmp_path / "pipe.out").touch()
    assert found(pipe) == []
