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
        ("<disk type='vhostuser'><source type='unix' path='/run/a'/><target dev='vda'/></disk>", ["file:/run/a"]),
        (
            "<disk type='nvme'><source><address domain='0x0' bus='0x3b' slot='0x0' function='0x0'/></source>"
            "<target dev='vda'/></disk>",
            ["device:/sys/bus/pci/devices/0000:3b:00.0"],
        ),
        (
            "<disk type='network'><source protocol='nbd'><host transport='unix' socket='/run/n'/></source>"
            "<target dev='vda'/></disk>",
            ["file:/run/n"],
        ),
        (
            "<disk type='network'><auth><secret type='ceph' usage='a'/></auth><source protocol='rbd'/><target dev='vda'/></disk>",
            ["secret:ceph:a"],
        ),
        (
            "<disk type='block'><source dev='/dev/a'><encryption format='luks'><secret uuid='u'/></encryption>"
            "<reservations managed='no'><source path='/run/r'/></reservations></source><target dev='vda'/></disk>",
            ["secret:u", "file:/dev/a", "file:/run/r"],
        ),
        ("<interface type='ethernet'><target dev='tap0' managed='no'/></interface>", ["link:tap0"]),
        ("<emulator>/usr/bin/qemu</emulator>", ["file:/usr/bin/qemu"]),
    ],
)
def test_each_device_needs_its_files_and_links(devices: str, expected: list[str]) -> None:
    assert found(devices) == expected


def test_a_secret_of_a_disk_that_will_be_on_another_image_is_not_needed() -> None:
    disk_with = (
        "<disk type='file'><source file='/a'/><encryption><secret uuid='u'/></encryption><target dev='vda'/></disk>"
    )
    assert found(disk_with, replaced=("vda",)) == []


@pytest.mark.parametrize(
    ("backing", "expected"),
    [
        ("<hugepages/>", ["pages:0:16384"]),
        ("<hugepages><page size='2' unit='MiB'/></hugepages>", ["pages:2048:16384"]),
        ("<hugepages><page size='1' unit='G' nodeset='1'/></hugepages>", []),
        ("<locked/>", []),
    ],
)
def test_memory_needs_its_huge_pages(backing: str, expected: list[str]) -> None:
    assert found(rest=f"<memory unit='MiB'>16</memory><memoryBacking>{backing}</memoryBacking>") == expected


def test_booting_needs_kernel_initrd_and_template() -> None:
    boot = "<kernel>/k</kernel><initrd>/i</initrd><loader>bios.bin</loader><nvram template='/t'>/not/there</nvram>"
    assert found(boot=boot) == ["file:/k", "file:/i", "file:/t", "file:/not"]
    assert found(boot=f"<nvram template='/t'>{__file__}</nvram>") == []


def test_what_is_replaced_or_loaded_with_memory() -> None:
    assert found(disk(), replaced=("sda",)) == []
    assert found(disk(more="startupPolicy='requisite'"), cold=False) == []


def test_the_remedy_names_the_vm() -> None:
    (one,) = needs("web", parsed(f"<domain><devices>{disk()}</devices></domain>"), ())
    assert one.remedy.endswith("virsh change-media web sda --eject --config.")
