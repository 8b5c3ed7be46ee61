# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is inside a qcow2 image beside the guest's data."""

from __future__ import annotations

import io
import struct

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.qcow2_metadata import (
    Inside,
    read_inside,
    snapshot_names,
)


def image(bitmaps: int = 0, snapshots: int = 0, data: int = 0, version: int = 3) -> io.BytesIO:
    """A small image: one table of the mapping, whose first entry leads to a cluster with one entry, ``data``."""
    head = struct.pack(">4sIQIIQIIQQII", b"QFI\xfb", version, 0, 0, 9, 1 << 20, 0, 1, 0x10000, 0, 0, snapshots)
    head = head.ljust(100, b"\0") + struct.pack(">I", 104) if version == 3 else head.ljust(72, b"\0")
    head += struct.pack(">II", 0xE2792ACA, 5) + b"qcow2\0\0\0"
    if bitmaps:
        head += struct.pack(">III", 0x23852875, 4, bitmaps) + b"\0" * 4
    head = head.ljust(0x10000, b"\0")
    table = struct.pack(">Q", 0x10200).ljust(0x200, b"\0")
    return io.BytesIO(head + table + struct.pack(">Q", data).ljust(0x200, b"\0"))


def test_a_plain_image_has_nothing_inside_and_its_mapping_is_not_read() -> None:
    assert read_inside(image()) == Inside()


@pytest.mark.parametrize("version", [2, 3])
def test_bitmaps_and_snapshots_are_counted(version: int) -> None:
    found = read_inside(image(bitmaps=2, snapshots=3, version=version))
    assert (found.bitmaps, found.snapshots) == (2, 3)
    assert found.mapping is not None


def test_a_mapping_differs_where_data_lies_elsewhere() -> None:
    one, other = (read_inside(image(data=at), mapped=True).mapping for at in (0x20000, 0x30000))
    assert one is not None
    assert one != other


def test_whose_cluster_it_alone_is_does_not_change_the_mapping() -> None:
    shared, alone = (read_inside(image(data=at), mapped=True).mapping for at in (0x20000, 0x20000 | 1 << 63))
    assert shared == alone


def test_snapshots_are_called_by_their_names() -> None:
    table = b""
    for number, name in (("1", "before"), ("22", "naïve day")):
        text = name.encode()
        entry = (
            struct.pack(">QIHHIIQII", 0, 1, len(number), len(text), 0, 0, 0, 0, 24) + b"x" * 24 + number.encode() + text
        )
        table += entry.ljust((len(entry) + 7) // 8 * 8, b"\0")
    whole = bytearray(image(snapshots=2).getvalue())
    whole[64:72] = struct.pack(">Q", len(whole))
    assert snapshot_names(io.BytesIO(bytes(whole) + table)) == {"before", "naïve day"}


def test_what_is_no_qcow2_image_is_refused() -> None:
    with pytest.raises(ValueError, match="not a qcow2 image"):
        read_inside(io.BytesIO(b"raw bytes of a guest"))
