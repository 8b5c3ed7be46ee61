# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is kept in a qcow2 image beside the guest's data, and where in the image that data lies.

`virsh checkpoint-delete` takes bitmaps away from frozen images as well (seen on 9.0 and 11.3), which changes the time of
their last write and nothing that a guest reads. Layout: docs/interop/qcow2.rst of QEMU.
"""

from __future__ import annotations

import hashlib
import os
import struct
from dataclasses import dataclass
from typing import BinaryIO, Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.any_format_backing import (
    qcow2_extensions,
)

_MAGIC = b"QFI\xfb"
# Magic, version, backing offset, backing length, cluster bits, virtual size, encryption, entries of the L1 table, where
# that lies, where the refcount table lies, its clusters, internal snapshots.
_FIXED = struct.Struct(">4sIQIIQIIQQII")
_TABLE = struct.Struct(">Q")  # where the table of snapshots lies, right after these
# Of a snapshot: where its L1 table lies and its entries, the lengths of id and name, times and size, the length of what is added.
_ENTRY = struct.Struct(">8x4xHH4x4x8x4xI")
_BITMAPS = 0x23852875
_OFFSET = 0x00FFFFFFFFFFFE00
_HEADER = 65536


@dataclass(frozen=True)
class Inside:
    """How many bitmaps and snapshots an image keeps, and a digest of its mapping, None where that was not asked for."""

    bitmaps: int = 0
    snapshots: int = 0
    mapping: Optional[str] = None


def read_inside(stream: BinaryIO, mapped: bool = False) -> Inside:
    """Read an open qcow2 image; ``mapped``: the mapping too, also where nothing else is inside.

    Raises `OSError`, `ValueError` or `struct.error`.
    """
    head = stream.read(_HEADER)
    if head[:4] != _MAGIC:
        raise ValueError("not a qcow2 image")
    fields = _FIXED.unpack_from(head)
    bitmaps, snapshots = _bitmaps(head), fields[-1]
    if not (mapped or bitmaps or snapshots):
        return Inside()
    return Inside(bitmaps, snapshots, _mapping(stream, fields[4], fields[7], fields[8]))


def snapshot_names(stream: BinaryIO) -> set[str]:
    """Return the names of the snapshots inside an open qcow2 image. Raises `OSError`, `ValueError` or `struct.error`."""
    head = stream.read(_HEADER)
    if head[:4] != _MAGIC:
        raise ValueError("not a qcow2 image")
    names = set()
    stream.seek(_TABLE.unpack_from(head, _FIXED.size)[0])
    for _number in range(_FIXED.unpack_from(head)[-1]):
        id_length, name_length, more = _ENTRY.unpack(stream.read(_ENTRY.size))
        stream.seek(more + id_length, os.SEEK_CUR)
        names.add(stream.read(name_length).decode(errors="surrogateescape"))
        stream.seek(-(_ENTRY.size + more + id_length + name_length) % 8, os.SEEK_CUR)
    return names


def _bitmaps(head: bytes) -> int:
    found = (content for kind, content in qcow2_extensions(head) if kind == _BITMAPS and len(content) >= 4)
    return next((int(struct.unpack_from(">I", content)[0]) for content in found), 0)


def _mapping(stream: BinaryIO, cluster_bits: int, entries: int, table: int) -> str:
    digest, cluster = hashlib.sha256(), 1 << cluster_bits
    # Whether a cluster is one snapshot's alone is said in its entry's first bit, and changes when a snapshot inside goes.
    mask = int.from_bytes((b"\x7f" + b"\xff" * 7) * (cluster // 8), "big")
    stream.seek(table)
    for number, (entry,) in enumerate(struct.iter_unpack(">Q", stream.read(entries * 8))):
        if entry & _OFFSET:
            stream.seek(entry & _OFFSET)
            content = int.from_bytes(stream.read(cluster), "big") & mask
            digest.update(number.to_bytes(8, "big") + content.to_bytes(cluster, "big"))
    return digest.hexdigest()
