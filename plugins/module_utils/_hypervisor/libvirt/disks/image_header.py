# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Image files as they lie on disk: what their headers say.

The headers are read here, not by ``qemu-img info``: a process for each layer would cost more than the snapshot.
Layout: docs/interop/qcow2.rst of QEMU. The lab's tests compare every field with ``qemu-img info``.
"""

from __future__ import annotations

import os
import stat
import struct
from dataclasses import dataclass

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.any_format_backing import (
    qcow2_extensions,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.backing_string import (
    Backing,
    resolve,
)

_MAGIC = b"QFI\xfb"
# Magic, version, backing offset, backing length, cluster bits, virtual size, encryption, entries of the L1 table, where
# that lies, where the refcount table lies, its clusters, internal snapshots.
_FIXED = struct.Struct(">4sIQIIQIIQQII")
_INCOMPATIBLE = struct.Struct(">Q")
_INCOMPATIBLE_AT, _DATA_FILE = 72, 1 << 2
_VERSION_2_HEADER = 72
_BACKING_FORMAT = 0xE2792ACA
_FIRST_CLUSTER = 65536
ENCRYPTED = "it is encrypted"


@dataclass(frozen=True)
class Image:
    """One image file. Sizes in bytes, ``size`` as allocated; ``backing_format`` is "" where the image names none.

    ``end`` is what it is backed by where that is no file we can follow, and so the end of the chain: never read, never
    written to. ``named`` are all files that its header names as what it is backed by. ``snapshots`` counts those inside
    it. ``peculiar`` says why its data is not where a plain image has it.
    """

    file: str
    format: str
    size: int
    virtual_size: int
    backing_file: str | None = None
    backing_format: str = ""
    snapshots: int = 0
    end: str = ""
    named: tuple[str, ...] = ()
    peculiar: str = ""
    device: bool = False

    @property
    def below(self) -> str | None:
        """The file of this host that it reads from, also where it takes a part of that only, or decrypts it."""
        return self.backing_file or next(iter(self.named), None)


def read_image(file: str, image_format: str) -> Image:
    """Read an image; ``image_format`` is what libvirt or the layer above says, never guessed from a guest's bytes.

    Raises `OSError` when it cannot be read, `ValueError` when a qcow2 is none.
    """
    with open(file, "rb") as stream:
        head = stream.read(_FIRST_CLUSTER) if image_format == "qcow2" else b""
        end = stream.seek(0, os.SEEK_END)  # also right for a block device, where st_size is 0
        status = os.fstat(stream.fileno())
    device = stat.S_ISBLK(status.st_mode)
    allocated = end if device else status.st_blocks * 512  # a device is all taken, whatever is in it
    if image_format != "qcow2":
        peculiar = ENCRYPTED if image_format == "luks" else ""
        return Image(file, image_format, allocated, end, peculiar=peculiar, device=device)
    try:
        return _parsed(file, head, allocated, device)
    except (struct.error, AttributeError, RecursionError) as error:
        raise ValueError(f"the header of {file} is broken: {error}") from error


def _parsed(file: str, head: bytes, allocated: int, device: bool) -> Image:
    if len(head) < _VERSION_2_HEADER or head[:4] != _MAGIC:
        raise ValueError(f"{file} is not a qcow2 image")
    _magic, version, offset, length, _bits, virtual_size, encryption, *_rest, snapshots = _FIXED.unpack_from(head)
    text = head[offset : offset + length].decode() if offset else ""
    backing = resolve(file, text) if text else Backing(None)
    return Image(
        file=file,
        format="qcow2",
        size=allocated,
        virtual_size=virtual_size,
        backing_file=backing.path,
        backing_format=_backing_format(head) or backing.format,
        snapshots=snapshots,
        end=backing.end,
        named=backing.files,
        peculiar=_peculiar(head, version, encryption),
        device=device,
    )


def _peculiar(head: bytes, version: int, encryption: int) -> str:
    if encryption:
        return ENCRYPTED
    if version > 2 and _INCOMPATIBLE.unpack_from(head, _INCOMPATIBLE_AT)[0] & _DATA_FILE:
        return "it keeps its data in another file"
    return ""


def _backing_format(head: bytes) -> str:
    return next((content.decode() for kind, content in qcow2_extensions(head) if kind == _BACKING_FORMAT), "")


def is_empty(overlay: str) -> bool:
    """Whether nothing was ever written to a qcow2 overlay: its L1 table has no entry. Raises as `read_image` does."""
    with open(overlay, "rb") as stream:
        head = stream.read(_FIXED.size)
        if len(head) < _FIXED.size or head[:4] != _MAGIC:
            raise ValueError(f"{overlay} is not a qcow2 image")
        entries, table = _FIXED.unpack(head)[7:9]
        stream.seek(table)
        return not any(stream.read(entries * 8))
