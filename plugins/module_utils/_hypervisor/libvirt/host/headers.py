# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What any file says that it is based on, in every format in which QEMU can base an image on another.

Layouts: docs/interop/qcow2.rst and qed_spec.rst of QEMU, its block/qcow.c and block/vmdk.c. It is read for one thing only:
to leave alone what something is based on. So a file that merely looks like an overlay costs nothing.
"""

from __future__ import annotations

import re
import struct

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.backing import resolve

_HEAD = 65536
_QCOW = struct.Struct(">4sIQI")  # magic, version, backing offset, backing length; of version 1, 2 and 3 alike
_QED_BACKING_AT = 56  # offset of the backing file's name and its length, both 32 bits, little endian
_VMDK_DESCRIPTOR_AT = 28  # 64 bits, in sectors
_VMDK_PARENT = re.compile(rb'parentFileNameHint\s*=\s*"([^"\n]*)"')
_SECTOR = 512


def backing_files(file: str) -> list[str]:
    """Return what a file's header says that it is based on, as absolute paths. Raises `OSError` or `ValueError`."""
    with open(file, "rb") as stream:
        head = stream.read(4)
        if head not in (b"QFI\xfb", b"QED\0", b"KDMV", b"# Di"):
            return []
        head += stream.read(_HEAD)
    return [path for text in _names(head) for path in resolve(file, text).files]


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
    return [name.decode(errors="surrogateescape") for name in names if name and b"\0" not in name]
