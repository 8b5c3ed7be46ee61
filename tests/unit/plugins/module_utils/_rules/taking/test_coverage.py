# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which disks are in a snapshot, which are left out, and which must not be passed over in silence."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils.domains import disk, domain

pytest.importorskip("lxml")

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.libraries import parse
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.devices import Disk, disks
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.taking.coverage import cover, why_left_out

CDROM = disk("sda", "<readonly/>", device="cdrom")
EMPTY = disk("sdb", device="cdrom", source="")
READ_ONLY = disk("vdr", "<readonly/>")
NETWORK = disk("vdn", type="network", source="<source protocol='rbd' name='pool/image'/>")
LUN = disk("sdl", device="lun", type="block", source="<source dev='/dev/sdq'/>")
FLOPPY = disk("fda", device="floppy")
SHARED = disk("vds", "<shareable/>")
TRANSIENT = disk("vdt", "<transient/>")
BLOCK = disk("vdb", type="block", source="<source dev='/dev/vg/lv'/>")
KEPT_OUT = disk("vdk", snapshot="no")
SAYS_NO = "its definition says snapshot='no'; to include it in a snapshot, name it in disks"
LUKS = "<encryption format='luks'><secret type='passphrase' uuid='6aa17ab4-61de-4a1c-b4b4-bf0ba1b6e6d6'/></encryption>"
ENCRYPTED = disk("vde", LUKS)
ENCRYPTED_BELOW = disk(
    "vdb",
    f"<backingStore type='file'><format type='raw'/><source file='/b'>{LUKS}</source><backingStore/></backingStore>",
)
SLICE = disk("vdc", source="<source file='/x'><slices><slice type='storage' offset='1' size='2'/></slices></source>")
DATA_STORE = disk("vdd", source="<source file='/x'><dataStore type='file'><source file='/d'/></dataStore></source>")
RESERVED = disk("vdr", type="block", source="<source dev='/dev/sdq'><reservations managed='yes'/></source>")
UNRESOLVED = disk("vdv", type="volume", source="<source pool='p' volume='v' unresolved='pool p is not active'/>")
COMMANDLINE = """<qemu:commandline xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <qemu:arg value='{}'/><qemu:arg value='{}'/></qemu:commandline>"""
NOT_ASKED = "not among the disks asked for"


def covered(devices: str, chosen: Any = None, around: str = "") -> tuple[list[str], dict[str, str]]:
    found, left_out = cover("web01", parse(domain(devices, around)), chosen)
    return [one.target for one in found], {part.target: part.reason for part in left_out}


@pytest.mark.parametrize(
    ("devices", "chosen", "targets", "left_out"),
    [
        (disk(), None, ["vda"], {}),
        (disk() + BLOCK, None, ["vda", "vdb"], {}),
        (disk() + CDROM + EMPTY, None, ["vda"], {"sda": "a cdrom", "sdb": "an empty drive"}),
        (disk() + READ_ONLY, None, ["vda"], {"vdr": "read-only"}),
        (disk() + BLOCK, ["vdb"], ["vdb"], {"vda": NOT_ASKED}),
        (BLOCK + disk(), ["vda", "vdb"], ["vdb", "vda"], {}),
        (disk() + NETWORK, ["vda"], ["vda"], {"vdn": "of type 'network', not a file or block device of this host"}),
        # The reason is that which a snapshot read back gives, so that check mode tells the truth.
        (disk() + CDROM, ["vda"], ["vda"], {"sda": "a cdrom"}),
        # Nothing there to deceive anybody: nothing to do.
        (CDROM + EMPTY, None, [], {"sda": "a cdrom", "sdb": "an empty drive"}),
        ("", None, [], {}),
        (disk() + KEPT_OUT, None, ["vda"], {"vdk": SAYS_NO}),
        (disk() + KEPT_OUT, ["vdk"], ["vdk"], {"vda": NOT_ASKED}),
        (disk() + KEPT_OUT, ["vda"], ["vda"], {"vdk": SAYS_NO}),
        (disk() + disk("sda", "<readonly/>", device="cdrom", snapshot="no"), None, ["vda"], {"sda": "a cdrom"}),
        (disk(snapshot="internal") + disk("vdb", snapshot="external"), None, ["vda", "vdb"], {}),
    ],
)
def test_each_disk_is_covered_or_left_out_for_a_reason(
    devices: str, chosen: Any, targets: list[str], left_out: dict[str, str]
) -> None:
    assert covered(devices, chosen) == (targets, left_out)


@pytest.mark.parametrize(
    ("devices", "chosen", "error_code", "says", "remedy"),
    [
        (
            disk() + NETWORK,
            None,
            "disk_not_covered",
            "vdn of web01 cannot be in a snapshot: it is of type 'network'",
            "disks: [vda]",
        ),
        (disk() + LUN, None, "disk_not_covered", "raw passthrough of a LUN", "disks: [vda]"),
        (disk() + FLOPPY, None, "disk_not_covered", "is a floppy", "disks: [vda]"),
        (disk() + SHARED + BLOCK, None, "disk_not_covered", "shared with other VMs", "disks: [vda, vdb]"),
        (disk() + TRANSIENT, None, "disk_not_covered", "is transient", "disks: [vda]"),
        (NETWORK, None, "disk_not_covered", "'network'", "Nothing was changed."),
        (KEPT_OUT, None, "disk_not_covered", "keeps vdk out of snapshots", "disks: [vdk]"),
        (
            disk() + ENCRYPTED,
            None,
            "disk_not_covered",
            "vde of web01 cannot be in a snapshot: it is encrypted",
            "on_uncovered: leave_out",
        ),
        (
            disk() + ENCRYPTED_BELOW,
            None,
            "disk_not_covered",
            "vdb of web01 cannot be in a snapshot: it is encrypted",
            "disks: [vda]",
        ),
        (
            disk() + SLICE,
            None,
            "disk_not_covered",
            "vdc of web01 cannot be in a snapshot: it is a slice",
            "disks: [vda]",
        ),
        (
            disk() + DATA_STORE,
            None,
            "disk_not_covered",
            "vdd of web01 cannot be in a snapshot: it keeps its data in another file",
            "disks: [vda]",
        ),
        (disk() + RESERVED, None, "disk_not_covered", "SCSI reservations", "disks: [vda]"),
        (disk() + UNRESOLVED, None, "disk_not_covered", "pool p is not active", "disks: [vda]"),
        (
            disk() + ENCRYPTED,
            ["vda", "vde"],
            "disk_not_covered",
            "vde of web01 cannot be in a snapshot: it is encrypted",
            "disks: [vda].",
        ),
        (disk() + CDROM, ["sda"], "disk_not_covered", "is a cdrom", "disks: [vda]"),
        (disk() + EMPTY, ["vda", "sdb"], "disk_not_covered", "is an empty drive", "disks: [vda]"),
        (disk() + READ_ONLY, ["vdr"], "disk_not_covered", "is read-only", "disks: [vda]"),
        (disk() + BLOCK, ["vdx", "vda", "vdy"], "disk_not_found", "no disk vdx, vdy", "vda, vdb"),
        (disk(), [], "disk_not_covered", "no disk", ""),
    ],
)
def test_a_disk_that_cannot_be_covered_is_refused(
    devices: str, chosen: Any, error_code: str, says: str, remedy: str
) -> None:
    with pytest.raises(KvmError) as caught:
        covered(devices, chosen)
    assert caught.value.error_code == error_code
    assert says in caught.value.message
    assert remedy in caught.value.remedy


def test_firmware_is_left_out() -> None:
    tpm = "<tpm model='tpm-crb'><backend type='emulator'/></tpm>"
    assert list(covered(disk() + tpm, around="<os firmware='efi'/>")[1]) == ["nvram", "tpm"]


@pytest.mark.parametrize(
    "other", [NETWORK, LUN, FLOPPY, SHARED, TRANSIENT, ENCRYPTED, SLICE, RESERVED, UNRESOLVED, KEPT_OUT]
)
def test_what_cannot_be_covered_is_left_out_where_the_task_says_so(other: str) -> None:
    found, left_out = cover("web01", parse(domain(disk() + other)), None, leave_out=True)
    assert [one.target for one in found] == ["vda"]
    assert len(left_out) == 1
    assert not left_out[0].reason.startswith("is ")
    # What a snapshot that is read back says of it.
    known = {one.target: one for one in disks(parse(domain(disk() + other)))}
    assert left_out[0].reason == why_left_out(known[left_out[0].target])
    assert cover("web01", parse(domain(other)), None, leave_out=True)[0] == []


def test_what_an_image_says_counts_too() -> None:
    reason = "is on /vm/vdb.qcow2, and it is encrypted"
    looked: list[str] = []

    def look(one: Disk) -> str:
        looked.append(one.target)
        return reason if one.target == "vdb" else ""

    xml = parse(domain(disk() + disk("vdb") + CDROM))
    with pytest.raises(KvmError, match=r"Disk vdb of web01 cannot be in a snapshot: it is on .*, and it is encrypted"):
        cover("web01", xml, None, looked_at=look)
    assert [one.target for one in cover("web01", xml, None, True, look)[0]] == ["vda"]
    looked.clear()
    cover("web01", xml, ["vda"], looked_at=look)
    assert looked == ["vda"]  # no other image is opened


@pytest.mark.parametrize(
    ("devices", "around", "target", "reason"),
    [
        ("<filesystem type='mount'><source dir='/srv'/><target dir='share'/></filesystem>", "", "share", "9p"),
        (
            "<filesystem type='mount'><driver type='virtiofs'/><source dir='/srv'/><target dir='vfs'/></filesystem>",
            "",
            "vfs",
            "virtiofs",
        ),
        (
            "<hostdev mode='subsystem' type='pci'><source><address domain='0x0000' bus='0x06'/></source></hostdev>",
            "",
            "hostdev pci domain=0x0000 bus=0x06",
            "device of the host",
        ),
        (
            "<hostdev mode='subsystem' type='scsi'><source><adapter name='scsi_host0'/></source></hostdev>",
            "",
            "hostdev scsi name=scsi_host0",
            "device of the host",
        ),
        (
            "<memory model='nvdimm'><source><path>/srv/nv</path></source></memory>",
            "",
            "nvdimm /srv/nv",
            "persistent memory (NVDIMM)",
        ),
        ("", COMMANDLINE.format("-drive", "file=/srv/x.qcow2,if=virtio"), "-drive file=/srv/x.qcow2,if=virtio", "QEMU"),
        ("", COMMANDLINE.format("--blockdev", "{}"), "-blockdev {}", "QEMU"),
        ("", COMMANDLINE.format("-hdb", "/srv/x.raw"), "-hdb /srv/x.raw", "QEMU"),
        ("", COMMANDLINE.format("-drive=file=/x", ""), "-drive file=/x", "QEMU"),
        ("", COMMANDLINE.format("-device", "nvdimm,id=n,memdev=m"), "-device nvdimm,id=n,memdev=m", "QEMU"),
    ],
)
def test_what_is_no_disk_is_told(devices: str, around: str, target: str, reason: str) -> None:
    found, left_out = covered(disk() + devices, around=around)
    assert (found, list(left_out)) == (["vda"], [target])
    assert reason in left_out[target]


@pytest.mark.parametrize(
    ("devices", "around"),
    [
        ("<hostdev mode='subsystem' type='mdev'/><memory model='dimm'/>", ""),
        ("", COMMANDLINE.format("-device", "virtio-net")),
        ("", COMMANDLINE.format("-name", "drive")),
    ],
)
def test_what_stores_nothing_is_not_told(devices: str, around: str) -> None:
    assert covered(disk() + devices, around=around) == (["vda"], {})
