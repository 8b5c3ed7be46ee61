# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every file that some XML names is found, wherever it stands, and whether the VM writes to it."""

from __future__ import annotations

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.named_files import (
    NamedVolume,
    named_files,
    named_volumes,
)

etree = pytest.importorskip("lxml.etree")
DISK = "<disk device='{device}'><source file='/i/web.qcow2'/>{more}<target dev='vda'/></disk>"


def found(xml: str, without_disks: bool = False) -> dict[str, bool]:
    root = etree.fromstring(f"<domain xmlns:qemu='q'>{xml}</domain>")
    return {named.path: named.writes for named in named_files(root) if not (without_disks and named.image)}


@pytest.mark.parametrize(
    ("xml", "path"),
    [
        ("<os><kernel>/i/vmlinuz</kernel></os>", "/i/vmlinuz"),
        ("<os><nvram template='/i/code.fd'/></os>", "/i/code.fd"),
        ("<devices><filesystem><source dir='/i/shared'/></filesystem></devices>", "/i/shared"),
        ("<devices><memory><source><path>/i/nvdimm</path></source></memory></devices>", "/i/nvdimm"),
        ("<qemu:arg value='file=/i/web.qcow2,if=none'/>", "/i/web.qcow2"),
        ("<qemu:arg value='if=none,file=/i/with,,comma.qcow2'/>", "/i/with,comma.qcow2"),
        ("""<qemu:arg value='{"driver":"file","filename":"/i/web.qcow2"}'/>""", "/i/web.qcow2"),
        ("<qemu:arg value='file:/i/web.qcow2'/>", "/i/web.qcow2"),
        ("<qemu:env name='X' value='/i/env'/>", "/i/env"),
        ("<memory snapshot='external' file='/i/web.memory'/>", "/i/web.memory"),
    ],
)
def test_a_file_that_is_named_anywhere(xml: str, path: str) -> None:
    assert found(xml) == {path: False}


@pytest.mark.parametrize(
    ("device", "more", "writes"),
    [
        ("disk", "", True),
        ("lun", "", True),
        ("disk", "<readonly/>", False),
        ("disk", "<transient/>", False),
        ("disk", "<shareable/>", True),
        ("cdrom", "<readonly/>", False),
        ("cdrom", "", False),
    ],
)
def test_who_writes_to_a_disk(device: str, more: str, writes: bool) -> None:
    assert found(DISK.format(device=device, more=more)) == {"/i/web.qcow2": writes}


def test_what_is_under_a_disk_is_not_written_to() -> None:
    below = "<backingStore type='file'><source file='/i/base.qcow2'/></backingStore>"
    assert found(DISK.format(device="disk", more=below)) == {"/i/web.qcow2": True, "/i/base.qcow2": False}


def test_a_vms_own_images_are_left_out_with_all_that_is_under_them() -> None:
    below = "<backingStore type='file'><source file='/i/base.qcow2'/></backingStore>"
    other = "<os><kernel>/i/base.qcow2</kernel></os>"
    assert found(DISK.format(device="disk", more=below), without_disks=True) == {}
    assert found(DISK.format(device="cdrom", more=""), without_disks=True) == {"/i/web.qcow2": False}
    assert found(DISK.format(device="disk", more=below) + other, without_disks=True) == {"/i/base.qcow2": False}


def test_comments_and_what_is_no_path_are_nothing() -> None:
    assert found("<!-- /i/web.qcow2 --><name>a/b</name><source protocol='rbd' name='pool/image'/>") == {}


def test_a_volume_is_named_with_whether_it_is_written() -> None:
    disk = "<disk type='volume'><source pool='p' volume='v'/><target dev='vda'/>{}</disk>"
    for more, writes in (("", True), ("<readonly/>", False)):
        root = etree.fromstring(f"<domain>{disk.format(more)}</domain>")
        assert list(named_volumes(root)) == [NamedVolume("p", "v", writes)]
