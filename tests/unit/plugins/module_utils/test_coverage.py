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

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.library import parse
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.coverage import cover

CDROM = disk("sda", "<readonly/>", device="cdrom")
EMPTY = disk("sdb", device="cdrom", source="")
READ_ONLY = disk("vdr", "<readonly/>")
NETWORK = disk("vdn", type="network", source="<source protocol='rbd' name='pool/image'/>")
LUN = disk("sdl", device="lun", type="block", source="<source dev='/dev/sdq'/>")
FLOPPY = disk("fda", device="floppy")
SHARED = disk("vds", "<shareable/>")
TRANSIENT = disk("vdt", "<transient/>")
BLOCK = disk("vdb", type="block", source="<source dev='/dev/vg/lv'/>")
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
        (disk() + NETWORK, ["vda"], ["vda"], {"vdn": NOT_ASKED}),
        # The reason is that which a snapshot read back gives, so that check mode tells the truth.
        (disk() + CDROM, ["vda"], ["vda"], {"sda": "a cdrom"}),
    ],
)
def test_covered(devices: str, chosen: Any, targets: list[str], left_out: dict[str, str]) -> None:
    assert covered(devices, chosen) == (targets, left_out)


@pytest.mark.parametrize(
    ("devices", "chosen", "error_code", "says", "remedy"),
    [
        (disk() + NETWORK, None, "disk_not_covered", "vdn of web01 is of type 'network'", "disks: [vda]"),
        (disk() + LUN, None, "disk_not_covered", "raw passthrough of a LUN", "disks: [vda]"),
        (disk() + FLOPPY, None, "disk_not_covered", "is a floppy", "disks: [vda]"),
        (disk() + SHARED + BLOCK, None, "disk_not_covered", "shared with other VMs", "disks: [vda, vdb]"),
        (disk() + TRANSIENT, None, "disk_not_covered", "is transient", "disks: [vda]"),
        (NETWORK, None, "disk_not_covered", "'network'", "Nothing was changed."),
        (CDROM + EMPTY, None, "disk_not_covered", "no disk that a snapshot could hold", ""),
        ("", None, "disk_not_covered", "no disk", ""),
        (disk() + CDROM, ["sda"], "disk_not_covered", "is a cdrom", "disks: [vda]"),
        (disk() + EMPTY, ["vda", "sdb"], "disk_not_covered", "is an empty drive", "disks: [vda]"),
        (disk() + READ_ONLY, ["vdr"], "disk_not_covered", "is read-only", "disks: [vda]"),
        (disk() + BLOCK, ["vdx", "vda", "vdy"], "disk_not_found", "no disk vdx, vdy", "vda, vdb"),
        (disk(), [], "disk_not_covered", "no disk", ""),
    ],
)
def test_refused(devices: str, chosen: Any, error_code: str, says: str, remedy: str) -> None:
    with pytest.raises(KvmError) as caught:
        covered(devices, chosen)
    assert caught.value.error_code == error_code
    assert says in caught.value.message
    assert remedy in caught.value.remedy


def test_firmware_is_left_out() -> None:
    tpm = "<tpm model='tpm-crb'><backend type='emulator'/></tpm>"
    assert list(covered(disk() + tpm, around="<os firmware='efi'/>")[1]) == ["nvram", "tpm"]
