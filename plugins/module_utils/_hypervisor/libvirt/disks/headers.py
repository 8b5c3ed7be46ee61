# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What any file says that it is based on, in every format in which QEMU can base an image on another.

Layouts: docs/interop/qcow2.rst and qed_spec.rst of QEMU, its block/qcow.c and block/vmdk.c. It is read for one thing only:
to leave alone what something is based on. So a file that merely looks like an overlay costs nothing.
"""

from __future__ import annotations

import json
import os
import re
import struct
from collections.abc import Iterator
from typing import Any

_HEAD = 65536
_QCOW = struct.Struct(">4sIQI")  # magic, version, backing offset, backing length; of version 1, 2 and 3 alike
_QED_BACKING_AT = 56  # offset of the backing file's name and its length, both 32 bits, little endian
_VMDK_DESCRIPTOR_AT = 28  # 64 bits, in sectors
_VMDK_PARENT = re.compile(rb'parentFileNameHint\s*=\s*"([^"\n]*)"')
_SECTOR = 512


def backing_files(file: str) -> list[str]:
    """Return what a file's header says that it is based on, as absolute paths. Raises `OSError`."""
    with open(file, "rb") as stream:
        head = stream.read(4)
        if head not in (b"QFI\xfb", b"QED\0", b"KDMV", b"# Di"):
            return []
        head += stream.read(_HEAD)
    found = _names(head)
    return [path for text in found for path in resolved(file, text)]


def _names(head: bytes) -> list[str]:
    if head.startswith(b"QFI\xfb"):
        _magic, _version, offset, length = _QCOW.unpack_from(head)
        names = [head[offset : offset + length]] if offset else []
    elif head.startswith(b"QED\0"):
        offset, length = struct.unpack_from("<II", head, _QED_BACKING_AT)
        names = [head[offset : offset + length]] if offset else []
    else:
        start = 0 if head.startswith(b"# Di") else struct.unpack_from("<Q", head, _VMDK_DESCRIPTOR_AT)[0] * _SECTOR
        names = _VMDK_PARENT.findall(head[start:])
    return [name.decode(errors="surrogateescape") for name in names if name]


def resolved(file: str, text: str) -> Iterator[str]:
    """Yield the local paths that a backing string may mean: plain, ``file:`` or ``json:``; none of a remote one."""
    if text.startswith("json:"):
        names = list(_file_names(json.loads(text[len("json:") :])))
    else:
        names = [text[len("file:") :] if text.startswith("file:") else text]
    for name in names:
        if not re.match(r"[a-z+]+:", name) or os.path.lexists(os.path.join(os.path.dirname(file), name)):
            # As QEMU puts it together, and the kernel resolves it: no normpath, `..` may follow a link.
            yield os.path.join(os.path.dirname(file), name)


def _file_names(options: Any) -> Iterator[str]:
    if isinstance(options, dict):
        for key, value in options.items():
            if isinstance(value, str) and (key == "filename" or key.endswith(".filename")):
                yield value
            else:
                yield from _file_names(value)
    elif isinstance(options, list):
        for value in options:
            yield from _file_names(value)
