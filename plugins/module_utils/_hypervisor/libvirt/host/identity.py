# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a file still is the one that was made: inode numbers are given anew, so the moment of birth counts too."""

from __future__ import annotations

import ctypes
import os
import struct
from typing import Any, Optional

_AT_FDCWD, _STATX_BTIME = -100, 0x800
_BIRTH_AT = struct.Struct("=qI")
_MASK, _SECONDS = 0, 80  # offsets in struct statx, see statx(2)


def identity(file: str) -> Optional[list[Any]]:
    """Return inode and birth (ns since the epoch, None where the file system keeps none) of a file; None without it."""
    try:
        return [os.stat(file).st_ino, birth(file)]
    except OSError:
        return None


def birth(file: str) -> Optional[int]:
    """Return when a file was made, in ns since the epoch; None where that is not kept."""
    # Python has no st_birthtime on Linux. glibc has statx since 2.28, musl since 1.2.
    statx = getattr(ctypes.CDLL(None), "statx", None)
    if statx is None:
        return None
    buffer = ctypes.create_string_buffer(256)
    if statx(_AT_FDCWD, os.fsencode(file), 0, _STATX_BTIME, buffer):
        return None
    mask = struct.unpack_from("=I", buffer, _MASK)[0]
    seconds, nanoseconds = _BIRTH_AT.unpack_from(buffer, _SECONDS)
    return seconds * 10**9 + nanoseconds if mask & _STATX_BTIME else None


def is_same(noted: Optional[list[Any]], file: str) -> bool:
    """Whether a file is the one that was noted; what is not known of either does not tell them apart."""
    found = identity(file)
    if noted is None or found is None:
        return True
    return noted[0] == found[0] and (None in (noted[1], found[1]) or noted[1] == found[1])
