# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which process has a file open: the last word on whether an image is in use, whatever libvirt remembers.

Of others the kernel tells their locks, and those only: of another host's QEMU on a shared file system (NFS passes the question on
to its server), of a program outside the container that this one may be in. Whoever keeps a lock and is no process here is
somebody all the same.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import stat
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.file_identity import is_device

_CLOSING_SECONDS = 5.0  # QEMU lets go of a merged layer a moment after libvirt has told so; other tasks read headers
_PAUSE = 0.1
_GET_LOCK = 36  # F_OFD_GETLK, fcntl(2)
_FLOCK = struct.Struct("@hhqqi4x")  # struct flock of 64 bits: type, whence, start, length, process
_ALL = (0, 0)  # of a file's bytes
# QEMU's block/file-posix.c: from byte 100 on it has a lock for each thing that it does, from 200 on for what nobody else may.
# It writes, and changes the size, with those from 101 on.
_OF_QEMU, _WRITING = (100, 200), (101, 3)
_LOCK_DAEMON = "virtlockd"  # libvirt's own, which keeps the images of running VMs open for their sake and reads nothing
_PIDFD_GETFD = 438  # the same on every machine; since Linux 5.6, see pidfd_getfd(2)

Holders = dict[str, Optional[int]]  # files with the process that has them; None where it is no process of this host


def still_open(files: Iterable[str], but: Optional[int] = None) -> Holders:
    """Return those of the files that stay open, with the process other than ``but`` that has them; what is being closed is
    waited for.
    """
    wanted = list(files)

    def ask() -> Holders:
        opened = [file for file in wanted if not _is_open_nowhere(file)]
        return _with_unseen(opened, open_now(opened, but=but), but)

    return _lasting(ask)


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


def writers(files: Iterable[str]) -> Holders:
    """Return those images that a process has open for writing, with that process.

    QEMU locks what it has open: where there is no lock, no process is looked at.
    """
    wanted = list(files)
    suspicious = any(is_device(file) or _is_locked(file) for file in wanted)
    if not suspicious:
        return {}
    elsewhere = _lasting(lambda: _unseen(set(wanted).difference(open_now(wanted)), part=_WRITING))
    return {**elsewhere, **open_now(wanted, writing=True)}


def written_by(uuid: str, *files: str) -> set[str]:
    """Return those images that the QEMU of a VM has open for writing, also one that libvirt does not know any more."""
    return {file for file, pid in writers(files).items() if pid is not None and f"\0{uuid}\0" in _command_line(pid)}


def _command_line(pid: int) -> str:
    with suppress(OSError), open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as file:
        return file.read()
    return ""


def identity(status: os.stat_result) -> tuple[int, int]:
    """Return what is the same for two names of one file. QEMU opens devices by nodes of its own, in a /dev of its own."""
    return (-1, status.st_rdev) if stat.S_ISBLK(status.st_mode) else (status.st_dev, status.st_ino)


def locked(files: Iterable[str], but: Optional[int] = None) -> Holders:
    """Return those images with locks of QEMU's programs that a process other than ``but`` keeps open.

    The locks may be those of ``but``. Another task on the same VM reads headers before it has the VM's lock: that is waited for.
    """
    wanted = list(files)

    def ask() -> Holders:
        # QEMU's locks on a device are on a node of its own, in a /dev of its own.
        suspects = [file for file in wanted if is_device(file) or _is_locked(file)]
        return _with_unseen(suspects, open_now(suspects, but=but), but)

    return _lasting(ask)


def _with_unseen(files: Iterable[str], seen: Holders, but: Optional[int] = None) -> Holders:
    """Add to the files that processes are ``seen`` to have open those with locks of nobody here; ``but`` may have its own."""
    return {**seen, **_unseen((file for file in files if file not in seen), but)}


def _unseen(files: Iterable[str], but: Optional[int] = None, part: tuple[int, int] = _OF_QEMU) -> Holders:
    return {file: None for file in files if not is_device(file) and _is_locked_by_others(file, but, part)}


def _is_locked_by_others(file: str, but: Optional[int], part: tuple[int, int]) -> bool:
    """Whether a file has locks of anybody else than the process ``but``; False where nobody can tell them apart.

    A process' own locks do not stand in its way: asked through its own descriptor, the kernel tells those of others only.
    """
    descriptors = [] if but is None else list(_descriptors(but, file))
    if not descriptors:
        return bool(_lock(file, part))
    if but is None or len(descriptors) > 1:  # each of several has locks of its own
        return False
    with suppress(OSError, AttributeError):  # a kernel or a Python that is too old, a host that forbids it
        process = os.pidfd_open(but)
        try:
            duplicate = ctypes.CDLL(None, use_errno=True).syscall(_PIDFD_GETFD, process, descriptors[0], 0)
        finally:
            os.close(process)
        if duplicate >= 0:
            try:
                return _has_lock(duplicate, part)
            finally:
                os.close(duplicate)
    return False


def _descriptors(pid: int, file: str) -> Iterator[int]:
    with suppress(OSError):
        wanted = identity(os.stat(file))
        for descriptor in os.scandir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                if identity(os.stat(descriptor.path)) == wanted:
                    yield int(descriptor.name)


def _lasting(ask: Callable[[], Holders]) -> Holders:
    end = time.monotonic() + _CLOSING_SECONDS
    while (found := ask()) and time.monotonic() < end:
        time.sleep(_PAUSE)
    return found


def _is_locked(file: str) -> bool:
    """Whether anybody has a lock on a part of a file; where that cannot be asked, it may be."""
    return _lock(file, _ALL) is not False


def _lock(file: str, part: tuple[int, int]) -> Optional[bool]:
    """Whether anybody has a lock on a part of a file; None where that cannot be asked.

    Of locks as QEMU takes them; one of flock(2) is none. The kernel is asked for this file alone: /proc/locks lists those of
    all VMs, and takes milliseconds with a few of them.
    """
    try:
        with open(file, "rb") as stream:
            return _has_lock(stream.fileno(), part)
    except FileNotFoundError:
        return False
    except OSError:
        return None


def _has_lock(descriptor: int, part: tuple[int, int]) -> bool:
    asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, *part, 0)
    return bool(_FLOCK.unpack(fcntl.fcntl(descriptor, _GET_LOCK, asked))[0] != fcntl.F_UNLCK)


def open_now(files: Iterable[str], writing: bool = False, but: Optional[int] = None) -> Holders:
    """Return those of the files that a process other than ``but`` has open (for ``writing``), with that process.

    Libvirt's lock daemon is none of them: it has only what a VM's QEMU has too.
    """
    wanted: dict[tuple[int, int], str] = {}
    for file in files:
        with suppress(OSError):
            status = os.stat(file)
            wanted[identity(status)] = file
    found: Holders = {}
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
                    if known and (not writing or is_for_writing(pid, descriptor.name)) and not _is_lock_daemon(pid):
                        found[known] = int(pid)
    return found


def _is_lock_daemon(pid: str) -> bool:
    with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
        return file.read().strip() == _LOCK_DAEMON


def is_for_writing(pid: str, descriptor: str) -> bool:
    """Whether a process has a descriptor open for writing. Raises `OSError` where that is closed."""
    with open(f"/proc/{pid}/fdinfo/{descriptor}", encoding="utf-8") as file:
        flags = [line.split()[1] for line in file if line.startswith("flags:")]
    return bool(int(flags[0], 8) & os.O_ACCMODE)
