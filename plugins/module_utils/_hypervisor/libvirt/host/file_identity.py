# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which file a path leads to: two names of one file are one, and a path may lead to another file by now.

Inode numbers are given anew, so whether a file still is the one that was made is told by the moment of its birth too.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from typing import Any, Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.real_paths import real_path

_AT_FDCWD, _STATX_BTIME = -100, 0x800
_BIRTH_AT = struct.Struct("=qI")
_MASK, _ATTRIBUTES, _SECONDS = 0, 8, 80  # offsets in struct statx, see statx(2)
_STATX_ATTR_APPEND = 0x20


def identity(file: str) -> Optional[list[Any]]:
    """Return inode and birth (ns since the epoch, None where the file system keeps none) of a file; None without it."""
    try:
        return [os.stat(file).st_ino, birth(file)]
    except OSError:
        return None


def birth(file: str) -> Optional[int]:
    """Return when a file was made, in ns since the epoch; None where that is not kept."""
    # Python has no st_birthtime on Linux.
    told = _statx(file)
    if told is None:
        return None
    seconds, nanoseconds = _BIRTH_AT.unpack_from(told, _SECONDS)
    return seconds * 10**9 + nanoseconds if struct.unpack_from("=I", told, _MASK)[0] & _STATX_BTIME else None


def is_append_only(file: str) -> bool:
    """Whether a file takes more and nothing else (``chattr +a``), or a directory more files: none can be deleted then."""
    told = _statx(file)
    return told is not None and bool(struct.unpack_from("=Q", told, _ATTRIBUTES)[0] & _STATX_ATTR_APPEND)


def _statx(file: str) -> Optional[bytes]:
    # glibc has statx since 2.28, musl since 1.2.
    statx = getattr(ctypes.CDLL(None), "statx", None)
    buffer = ctypes.create_string_buffer(256)
    if statx is None or statx(_AT_FDCWD, os.fsencode(file), 0, _STATX_BTIME, buffer):
        return None
    return buffer.raw


def is_same(noted: Optional[list[Any]], file: str) -> bool:
    """Whether a file is the one that was noted; what is not known of either does not tell them apart."""
    found = identity(file)
    if noted is None or found is None:
        return True
    return noted[0] == found[0] and (None in (noted[1], found[1]) or noted[1] == found[1])


def file_key(file: str) -> Optional[tuple[int, int]]:
    """Return what tells a file from every other one, whatever it is called; None where there is none."""
    try:
        status = os.stat(file)
    except (OSError, ValueError):  # a name that no file can have
        return None
    return status.st_dev, status.st_ino


def is_device(file: str) -> bool:
    """Whether a path leads to a block device."""
    try:
        return stat.S_ISBLK(os.stat(file).st_mode)
    except OSError:
        return False


def holds_no_images(directory: str) -> bool:
    """Whether a directory has devices and the kernel's own files only: an image that is made there is in the host's memory."""
    return any(directory == home or directory.startswith(home + "/") for home in ("/dev", "/proc", "/sys"))


def is_hard_linked(file: str) -> bool:
    """Whether a file has another name too: who uses it by that, or keeps it as a backup, nobody can tell."""
    try:
        return os.stat(file).st_nlink > 1
    except OSError:
        return False


def known_as(path: str) -> str:
    """Return one name for an image however it is spelled: the real path of a file, the number of a device."""
    try:
        status = os.stat(path)
    except OSError:
        return real_path(path)
    return f"device {status.st_rdev}" if stat.S_ISBLK(status.st_mode) else real_path(path)


def noted_as(path: str) -> str:
    """Return the name by which an image is found again after a reboot: of a device that is how people call it, not what
    the kernel numbered it this time.
    """
    return path if is_device(path) else real_path(path)
