# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel itself holds: loop devices on files, file systems mounted from block devices, and devices that it lets
nobody write to. No process shows these.
"""

from __future__ import annotations

import fcntl
import glob
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.mounts import Mounts

_LOOPS = "/sys/block/loop*/loop/backing_file"
_DELETED = " (deleted)"
_GET_STATUS = 0x4C05  # LOOP_GET_STATUS64 of linux/loop.h
_STATUS_SIZE = 232  # of struct loop_info64, which begins with the file's device and inode
_DEVICE_AND_INODE = struct.Struct("=QQ")


def loops() -> Iterator[tuple[str, str]]:
    """Yield each loop device in use with the path of its file, as whoever attached it calls it.

    For others, such as those outside a container, that leads elsewhere or nowhere: `file_of_loop` tells which file it is.
    """
    for found in glob.glob(_LOOPS):
        with suppress(OSError), open(found, encoding="utf-8", errors="surrogateescape") as file:
            yield "/dev/" + found.split("/")[3], file.read().rstrip("\n")


def is_deleted(path: str) -> bool:
    """Whether the path that the kernel told of a file is one that leads there no more; another one may."""
    return path.endswith(_DELETED)


def file_of_loop(device: str) -> Optional[tuple[int, int]]:
    """Return what tells a loop device's file from every other one; None where that cannot be asked, as without a node of it.

    A device whose file is on a file system that does not answer is not to be asked: to close it may block.
    """
    try:
        with open(device, "rb", buffering=0) as loop:
            status = fcntl.ioctl(loop, _GET_STATUS, bytes(_STATUS_SIZE))
    except OSError:
        return None
    number, inode = _DEVICE_AND_INODE.unpack_from(status)
    # huge_encode_dev of linux/kdev_t.h
    return os.makedev((number & 0xFFF00) >> 8, (number & 0xFF) | ((number >> 12) & 0xFFF00)), inode


def is_read_only(device: str) -> bool:
    """Whether the kernel lets nobody write to a block device (``blockdev --setro``, a read-only loop device or volume).

    It is not opened: to close it would tell udev that it was written to, and a dead one would block.
    """
    with suppress(OSError):
        number = os.stat(device).st_rdev
        with open(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}/ro", encoding="ascii") as file:
            return file.read().strip() == "1"
    return False


def mounted_from(device: str, mounts: Mounts) -> Optional[str]:
    """Return where a block device, or what lies on it (a volume, a partition), is mounted on this host; None where nowhere.

    Not that something lies on it: multipath makes devices of a guest's partitions by itself, and nobody uses those.
    """
    try:
        status = os.stat(device)
    except OSError:
        return None
    if not stat.S_ISBLK(status.st_mode):
        return None
    number = f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
    return next(filter(None, map(mounts.mounted, _with_holders(number))), None)


def _with_holders(number: str) -> Iterator[str]:
    yield number
    home = f"/sys/dev/block/{number}"
    for found in (*glob.glob(f"{home}/holders/*/dev"), *glob.glob(f"{home}/*/partition")):
        with suppress(OSError), open(os.path.join(os.path.dirname(found), "dev"), encoding="ascii") as file:
            yield from _with_holders(file.read().strip())
