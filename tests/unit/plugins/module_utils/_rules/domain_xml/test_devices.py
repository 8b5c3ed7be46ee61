# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading domain XML: disks, agent, firmware."""

from __future__ import annotations

import pytest

from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils.domains import disk, domain

pytest.importorskip("lxml")

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.libraries import parse
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.devices import (
    agent_connected,
    disks,
    has_nvram,
    stays_on,
)

CHAIN = """
  <backingStore type='file' index='2'><format type='qcow2'/><source file='/vm/s1.qcow2'/>
    <backingStore type='file' index='3'><format type='raw'/><source file='/vm/base.raw'/><backingStore/></backingStore>
  </backingStore>"""
AGENT = "<channel type='unix'><target type='virtio' name='{}' state='{}'/></channel>"


def test_a_disk_with_its_chain() -> None:
    (found,) = disks(parse(domain(disk("vda", CHAIN))))
    assert (found.target, found.device, found.type, found.format) == ("vda", "disk", "file", "qcow2")
    assert (found.source, found.backing) == ("/vm/vda.qcow2", ("/vm/s1.qcow2", "/vm/base.raw"))
    assert (found.readonly, found.shareable, found.transient, found.has_source) == (False, False, False, True)


@pytest.mark.parametrize(
    ("xml", "source", "backing", "has_source"),
    [
        (disk(extra="<backingStore/>"), "/vm/vda.qcow2", (), True),
        (disk(), "/vm/vda.qcow2", None, True),
        (disk(type="block", source="<source dev='/dev/vg/lv'/>"), "/dev/vg/lv", None, True),
        (disk(type="network", source="<source protocol='rbd' name='pool/image'/>"), None, None, True),
        (disk(type="volume", source="<source pool='default' volume='x'/>"), None, None, True),
        (disk(device="cdrom", source=""), None, None, False),
        (disk(source="<source file='/vm/&lt;a&gt; &amp; b.qcow2'/>"), "/vm/<a> & b.qcow2", None, True),
        (disk(extra="<mirror type='file'><source file='/vm/copy'/></mirror>"), "/vm/vda.qcow2", None, True),
    ],
)
def test_each_disk_is_told_with_its_source_and_backing(
    xml: str, source: str | None, backing: tuple[str, ...] | None, has_source: bool
) -> None:
    (found,) = disks(parse(domain(xml)))
    assert (found.source, found.backing, found.has_source) == (source, backing, has_source)


NBD = "<source protocol='nbd' name='x'><host name='h'/></source>"
NETWORK_LAYER = f"<backingStore type='network'><format type='raw'/>{NBD}</backingStore>"


@pytest.mark.parametrize(
    ("layers", "backing"),
    [
        (NETWORK_LAYER, ("",)),
        (f"<backingStore type='file'><source file='/vm/b'/>{NETWORK_LAYER}</backingStore>", ("/vm/b", "")),
        ("<backingStore type='file'><source file='/vm/b'/></backingStore>", None),
        ("<backingStore type='block'><source dev='/dev/vg/lv'/><backingStore/></backingStore>", ("/dev/vg/lv",)),
    ],
)
def test_what_is_no_file_ends_a_chain(layers: str, backing: tuple[str, ...] | None) -> None:
    (found,) = disks(parse(domain(disk(extra=layers))))
    assert found.backing == backing


def test_what_an_overlay_would_not_inherit() -> None:
    copying = "<mirror type='file'><source file='/c'><encryption format='luks'/></source></mirror>"
    inside = "<source file='/x'><slices/><encryption format='luks'/><reservations managed='yes'/></source>"
    found = disks(parse(domain(disk("vda", copying) + disk("vdb", source=inside, snapshot="manual"))))
    assert [(one.unusual, one.snapshot) for one in found] == [
        ((), ""),
        (("encryption", "slices", "reservations"), "manual"),
    ]


def test_flags_and_order() -> None:
    xml = domain(disk("vdb", "<readonly/>") + disk("vda", "<shareable/>") + disk("sda", "<transient/>"))
    found = disks(parse(xml))
    assert [one.target for one in found] == ["vdb", "vda", "sda"]
    assert [(one.readonly, one.shareable, one.transient) for one in found] == [
        (True, False, False),
        (False, True, False),
        (False, False, True),
    ]


@pytest.mark.parametrize(
    ("devices", "connected"),
    [
        ("", False),
        (AGENT.format("org.qemu.guest_agent.0", "connected"), True),
        (AGENT.format("org.qemu.guest_agent.0", "disconnected"), False),
        (AGENT.format("com.redhat.spice.0", "connected"), False),
        (AGENT.format("com.redhat.spice.0", "connected") + AGENT.format("org.qemu.guest_agent.0", "connected"), True),
        ("<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>", False),
    ],
)
def test_only_the_channel_of_the_guest_agent_tells_of_it(devices: str, connected: bool) -> None:
    assert agent_connected(parse(domain(devices))) is connected


@pytest.mark.parametrize(
    ("os", "nvram"),
    [
        ("<os><type>hvm</type></os>", False),
        ("<os firmware='efi'><type>hvm</type></os>", True),
        ("<os firmware='bios'><type>hvm</type></os>", False),
        ("<os><loader readonly='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE.fd</loader></os>", True),
        ("<os><loader type='rom'>/usr/share/qemu/bios.bin</loader></os>", False),
        ("<os><nvram>/var/lib/libvirt/qemu/nvram/web01_VARS.fd</nvram></os>", True),
    ],
)
def test_firmware_with_nvram_is_seen(os: str, nvram: bool) -> None:
    assert has_nvram(parse(domain(around=os))) is nvram


def test_a_transient_disk_stays_on_what_is_under_libvirts_overlay() -> None:
    xml = "<disk type='file'><source file='/a.TRANSIENT'/>{}<target dev='vda'/><transient/></disk>"
    below = "<backingStore type='file'><source file='/a'/><backingStore/></backingStore>"
    (running,) = disks(parse(f"<domain><devices>{xml.format(below)}</devices></domain>"))
    (off,) = disks(parse(f"<domain><devices>{xml.format('')}</devices></domain>"))
    assert (stays_on(running), stays_on(off)) == ("/a", "/a.TRANSIENT")
