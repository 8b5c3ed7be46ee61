# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which process has a file open: the last word on whether an image is in use, whatever libvirt remembers."""

from __future__ import annotations

import fcntl
import os
import signal
import stat
import struct
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.file_identity import is_device

_CLOSING_SECONDS = 5.0  # QEMU lets go of a merged layer a moment after libvirt has told so; other tasks read headers
_PAUSE = 0.1
_GET_LOCK = 36  # F_OFD_GETLK, fcntl(2)
_FLOCK = struct.Struct("@hhqqi4x")  # struct flock of 64 bits: type, whence, start, length, process


def still_open(files: Iterable[str], but: Optional[int] = None) -> dict[str, int]:
    """Return those of the files that stay open, with the process other than ``but`` that has them; what is being closed is
    waited for.
    """
    wanted = list(files)
    return _lasting(lambda: open_now((file for file in wanted if not _is_open_nowhere(file)), but=but))


def _is_open_nowhere(file: str) -> bool:
    """Whether the kernel is sure that no process has the file open; where it cannot tell, all processes are looked at.

    It gives a lease to write only for a file that nobody else has open, mapped ones included (fcntl(2), F_SETLEASE). Who opens
    it at this very moment waits until the lease is given back, and its holder gets a signal: by default one that ends it.
    """
    try:
        with open(file, "rb") as stream:
            fcntl.fcntl(stream, fcntl.F_SETSIG, signal.SIGURG)  # that one is ignored
            fcntl.fcntl(stream, fcntl.F_SETLEASE, fcntl.F_WRLCK)
            fcntl.fcntl(stream, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError:
        return False
    return True


def writers(files: Iterable[str]) -> dict[str, int]:
    """Return those images that a process has open for writing, with that process.

    QEMU locks what it has open: where there is no lock, no process is looked at.
    """
    wanted = list(files)
    suspicious = any(is_device(file) or _is_locked(file) for file in wanted)
    return open_now(wanted, writing=True) if suspicious else {}


def identity(status: os.stat_result) -> tuple[int, int]:
    """Return what is the same for two names of one file. QEMU opens devices by nodes of its own, in a /dev of its own."""
    return (-1, status.st_rdev) if stat.S_ISBLK(status.st_mode) else (status.st_dev, status.st_ino)


def locked(files: Iterable[str], but: Optional[int] = None) -> dict[str, int]:
    """Return those images with locks of QEMU's programs that a process other than ``but`` keeps open.

    The locks may be those of ``but``. Another task on the same VM reads headers before it has the VM's lock: that is waited for.
    """
    wanted = list(files)
    # QEMU's locks on a device are on a node of its own, in a /dev of its own.
    return _lasting(lambda: open_now((file for file in wanted if is_device(file) or _is_locked(file)), but=but))


def _lasting(ask: Callable[[], dict[str, int]]) -> dict[str, int]:
    end = time.monotonic() + _CLOSING_SECONDS
    while (found := ask()) and time.monotonic() < end:
        time.sleep(_PAUSE)
    return found


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
