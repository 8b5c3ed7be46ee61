# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which process has a file open: the last word on whether an image is in use, whatever libvirt remembers."""

from __future__ import annotations

import fcntl
import os
import stat
import struct
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Optional

_CLOSING_SECONDS = 5.0  # QEMU lets go of a merged layer a moment after libvirt has told so
_PAUSE = 0.1
_GET_LOCK = 36  # F_OFD_GETLK, fcntl(2)
_FLOCK = struct.Struct("@hhqqi4x")  # struct flock of 64 bits: type, whence, start, length, process


def still_open(files: Iterable[str]) -> dict[str, int]:
    """Return those of the files that stay open, with the process that has them; what is being closed is waited for."""
    wanted = list(files)
    end = time.monotonic() + _CLOSING_SECONDS
    while (found := open_now(wanted)) and time.monotonic() < end:
        time.sleep(_PAUSE)
    return found


def writers(files: Iterable[str]) -> dict[str, int]:
    """Return those images that a process has open for writing, with that process.

    QEMU locks what it has open: where there is no lock, no process is looked at.
    """
    wanted = list(files)
    suspicious = any(is_device(file) or _is_locked(file) for file in wanted)
    return open_now(wanted, writing=True) if suspicious else {}


def is_device(file: str) -> bool:
    """Whether a path leads to a block device."""
    try:
        return stat.S_ISBLK(os.stat(file).st_mode)
    except OSError:
        return False


def identity(status: os.stat_result) -> tuple[int, int]:
    """Return what is the same for two names of one file. QEMU opens devices by nodes of its own, in a /dev of its own."""
    return (-1, status.st_rdev) if stat.S_ISBLK(status.st_mode) else (status.st_dev, status.st_ino)


def known_as(path: str) -> str:
    """Return one name for an image however it is spelled: the real path of a file, the number of a device."""
    try:
        status = os.stat(path)
    except OSError:
        return os.path.realpath(path)
    return f"device {status.st_rdev}" if stat.S_ISBLK(status.st_mode) else os.path.realpath(path)


def noted_as(path: str) -> str:
    """Return the name by which an image is found again after a reboot: of a device that is how people call it, not what
    the kernel numbered it this time.
    """
    return path if is_device(path) else os.path.realpath(path)


def locked(files: Iterable[str], but: Optional[int] = None) -> dict[str, int]:
    """Return those images that a process other than ``but`` has open with a lock, as all of QEMU's programs do."""
    return open_now(filter(_is_locked, files), but=but)


def _is_locked(file: str) -> bool:
    """Whether anybody has a lock on a part of a file; where that cannot be asked, it may be.

    Of locks as QEMU takes them; one of flock(2) is none. The kernel is asked for this file alone: /proc/locks lists those of
    all VMs, and takes milliseconds with a few of them.
    """
    try:
        with open(file, "rb") as stream:
            asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            kind = _FLOCK.unpack(fcntl.fcntl(stream, _GET_LOCK, asked))[0]
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return bool(kind != fcntl.F_UNLCK)


def open_now(files: Iterable[str], writing: bool = False, but: Optional[int] = None) -> dict[str, int]:
    """Return those of the files that a process other than ``but`` has open (for ``writing``), with that process."""
    wanted: dict[tuple[int, int], str] = {}
    for file in files:
        with suppress(OSError):
            status = os.stat(file)
            wanted[identity(status)] = file
    found: dict[str, int] = {}
    if not wanted:
        return found
    for pid in filter(str.isdigit, os.listdir("/proc")):
        if pid == str(but):
            continue
        with suppress(OSError):  # it has ended, or is somebody else's and we are not root
            for descriptor in os.scandir(f"/proc/{pid}/fd"):
                with suppress(OSError):
                    status = os.stat(descriptor.path)
                    known = wanted.get(identity(status))
                    if known and (not writing or is_for_writing(pid, descriptor.name)):
                        found[known] = int(pid)
    return found


def is_for_writing(pid: str, descriptor: str) -> bool:
    """Whether a process has a descriptor open for writing. Raises `OSError` where that is closed."""
    with open(f"/proc/{pid}/fdinfo/{descriptor}", encoding="utf-8") as file:
        flags = [line.split()[1] for line in file if line.startswith("flags:")]
    return bool(int(flags[0], 8) & os.O_ACCMODE)
