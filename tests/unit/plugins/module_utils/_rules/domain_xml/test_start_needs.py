# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a definition needs at a start, and what it does not."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.start_needs import needs


def parsed(xml: str) -> ElementTree.Element:
    return ElementTree.fromstring(xml)  # noqa: S314 - ours


def found(
    devices: str = "", boot: str = "", rest: str = "", replaced: tuple[str, ...] = (), cold: bool = True
) -> list[str]:
    domain = parsed(f"<domain><os>{boot}</os>{rest}<devices>{devices}</devices></domain>")
    return [f"{one.kind}:{one.what}" for one in needs("web", domain, replaced, cold)]


def disk(more: str = "", device: str = "cdrom", target: str = "sda", kind: str = "file", name: str = "file") -> str:
    source = f"<source {name}='/srv/a.iso' {more}/>"
    return f"<disk type='{kind}' device='{device}'>{source}<target dev='{target}'/></disk>"


@pytest.mark.parametrize(
    ("devices", "expected"),
    [
        (disk(), ["file:/srv/a.iso"]),
        (disk(kind="block", name="dev", device="floppy"), ["file:/srv/a.iso"]),
        (disk(more="startupPolicy='mandatory'"), ["file:/srv/a.iso"]),
        (disk(more="startupPolicy='requisite'"), ["file:/srv/a.iso"]),
        (disk(more="startupPolicy='optional'"), []),
        (disk(device="disk", target="vdb"), ["file:/srv/a.iso"]),
        ("<disk type='file' device='cdrom'><target dev='sda'/></disk>", []),
        ("<disk type='network' device='disk'><source name='rbd/a'/><target dev='sda'/></disk>", []),
        ("<disk type='volume'><source pool='p' volume='v'/><target dev='sda'/></disk>", ["volume:p/v"]),
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
        ("<channel type='unix'><source mode='bind' path='/run/a'/></channel>", []),
        ("<channel type='unix'><source mode='connect' path='/run/a'/></channel>", ["file:/run/a"]),
        ("<filesystem type='mount'><source dir='/srv/x'/></filesystem>", ["file:/srv/x"]),
        ("<memory model='nvdimm'><source><path>/srv/n</path></source></memory>", ["file:/srv/n"]),
        ("<rng model='virtio'><backend model='random'>/dev/hwrng</backend></rng>", ["file:/dev/hwrng"]),
        ("<emulator>/usr/bin/qemu</emulator>", ["file:/usr/bin/qemu"]),
    ],
)
def test_each_device_needs_its_files_and_links(devices: str, expected: list[str]) -> None:
    assert found(devices) == expected


def test_booting_needs_kernel_initrd_and_template() -> None:
    boot = "<kernel>/k</kernel><initrd>/i</initrd><loader>bios.bin</loader><nvram template='/t'>/not/there</nvram>"
    assert found(boot=boot) == ["file:/k", "file:/i", "file:/t"]
    assert found(boot=f"<nvram template='/t'>{__file__}</nvram>") == []


def test_what_is_replaced_or_loaded_with_memory() -> None:
    assert found(disk(), replaced=("sda",)) == []
    assert found(disk(more="startupPolicy='requisite'"), cold=False) == []


def test_the_remedy_names_the_vm() -> None:
    (one,) = needs("web", parsed(f"<domain><devices>{disk()}</devices></domain>"), ())
    assert one.remedy.endswith("virsh change-media web sda --eject --config.")
