# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel itself holds: loop devices on files, file systems mounted from block devices, and devices that it lets
nobody write to. No process shows these.
"""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from typing import Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.mounts import Mounts

_LOOPS = "/sys/block/loop*/loop/backing_file"
_DELETED = " (deleted)"


def loops() -> Iterator[tuple[str, str]]:
    """Yield each loop device in use with the file that it is on."""
    for found in glob.glob(_LOOPS):
        with suppress(OSError), open(found, encoding="utf-8", errors="surrogateescape") as file:
            path = file.read().rstrip("\n")
            if not path.endswith(_DELETED):
                yield "/dev/" + found.split("/")[3], path


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
