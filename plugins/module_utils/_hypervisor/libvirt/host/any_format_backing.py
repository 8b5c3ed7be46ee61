# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What any file says that it is based on, in every format in which QEMU can base an image on another.

Layouts: docs/interop/qcow2.rst and qed_spec.rst of QEMU, its block/qcow.c and block/vmdk.c. It is read for one thing only:
to leave alone what something is based on. So a file that merely looks like an overlay costs nothing.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterable, Iterator

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.backing_string import resolve
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.file_identity import file_key
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.real_paths import real_path

# What reading an image raises: it cannot be read, or its header holds anything at all. Of a raw disk that is its guest's
# choice, down to a path with a NUL in it or JSON of endless depth.
UNREADABLE = (OSError, ValueError, AttributeError, RecursionError, struct.error)
_HEAD = 65536
_OVERLAYS = (b"QFI\xfb", b"QED\0", b"KDMV", b"# Di")
_QCOW = struct.Struct(">4sIQI")  # magic, version, backing offset, backing length; of version 1, 2 and 3 alike
_QCOW2_VERSION_AT, _OLD_QCOW2, _QCOW2_LENGTH, _QCOW2_LENGTH_AT = (
    4,
    2,
    72,
    100,
)  # version 2 has a fixed length, 3 tells it
_QCOW2_END, _QCOW2_DATA_FILE = 0, 0x44415441  # the latter names a file that has its data
_QED_BACKING_AT = 56  # offset of the backing file's name and its length, both 32 bits, little endian
_VMDK_DESCRIPTOR_AT = 28  # 64 bits, in sectors
_VMDK_PARENT = re.compile(rb'parentFileNameHint\s*=\s*"([^"\n]*)"')
_SECTOR = 512


def backing_files(file: str) -> list[str]:
    """Return what a file's header says that it is based on, as absolute paths. Raises `OSError` or `ValueError`."""
    return names_in(file, head_of(file))


def head_of(file: str) -> bytes:
    """Return the beginning of a file: of an overlay, all of its header that says what it is based on. Raises `OSError`."""
    with open(file, "rb") as stream:
        head = stream.read(4)
        return head + stream.read(_HEAD) if head in _OVERLAYS else head


def names_in(file: str, head: bytes) -> list[str]:
    """Return what the header of a file says that it is based on, as absolute paths. Raises `ValueError`."""
    return [path for text in _names(head) for path in resolve(file, text).files] if head[:4] in _OVERLAYS else []


def is_based_on(overlay: str, file: str) -> bool:
    """Whether an overlay is based on a file at this moment, going by its header."""
    try:
        backing = list(map(real_path, backing_files(overlay)))
    except UNREADABLE:
        return False
    key = file_key(file)
    return file in (*backing, *meant(overlay, backing)) or (key is not None and key in map(file_key, backing))


def meant(overlay: str, backing: Iterable[str]) -> Iterator[str]:
    """Yield what a header may mean by paths at which nothing is now: the file of that name beside the overlay.

    Their directory has another name at times: it is mounted there, or a link leads there, and on the next day again.
    """
    for path in backing:
        if not os.path.exists(path):
            yield os.path.join(os.path.dirname(overlay), os.path.basename(path))


def _names(head: bytes) -> list[str]:
    if head.startswith(b"QFI\xfb"):
        _magic, version, offset, length = _QCOW.unpack_from(head)
        names = [head[offset : offset + length]] if offset else []
        if version == 3:
            names += [content for kind, content in qcow2_extensions(head) if kind == _QCOW2_DATA_FILE]
    elif head.startswith(b"QED\0"):
        offset, length = struct.unpack_from("<II", head, _QED_BACKING_AT)
        names = [head[offset : offset + length]] if offset else []
    else:
        start = 0 if head.startswith(b"# Di") else struct.unpack_from("<Q", head, _VMDK_DESCRIPTOR_AT)[0] * _SECTOR
        names = _VMDK_PARENT.findall(head[start:])
    return [name.decode(errors="surrogateescape") for name in names if name and b"\0" not in name]


def qcow2_extensions(head: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the kind and the content of each extension of a qcow2 header, as far as ``head`` has them. Raises `struct.error`."""
    version = struct.unpack_from(">I", head, _QCOW2_VERSION_AT)[0]
    at = _QCOW2_LENGTH if version == _OLD_QCOW2 else struct.unpack_from(">I", head, _QCOW2_LENGTH_AT)[0]
    while at + 8 <= len(head):
        kind, length = struct.unpack_from(">II", head, at)
        if kind == _QCOW2_END:
            return
        yield kind, head[at + 8 : at + 8 + length]
        at += 8 + (length + 7) // 8 * 8
