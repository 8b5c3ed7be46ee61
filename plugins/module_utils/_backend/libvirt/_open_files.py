# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which process has a file open: the last word on whether an image is in use, whatever libvirt remembers."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from contextlib import suppress

_CLOSING_SECONDS = 5.0  # QEMU lets go of a merged layer a moment after libvirt has told so
_PAUSE = 0.1


def still_open(files: Iterable[str]) -> dict[str, int]:
    """Return those of the files that stay open, with the process that has them; what is being closed is waited for."""
    wanted = list(files)
    end = time.monotonic() + _CLOSING_SECONDS
    while (found := open_now(wanted)) and time.monotonic() < end:
        time.sleep(_PAUSE)
    return found


def open_now(files: Iterable[str]) -> dict[str, int]:
    """Return those of the files that a process has open, with that process."""
    wanted: dict[tuple[int, int], str] = {}
    for file in files:
        with suppress(OSError):
            status = os.stat(file)
            wanted[status.st_dev, status.st_ino] = file
    found: dict[str, int] = {}
    if not wanted:
        return found
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):  # it has ended, or is somebody else's and we are not root
            for descriptor in os.scandir(f"/proc/{pid}/fd"):
                with suppress(OSError):
                    status = os.stat(descriptor.path)
                    if (status.st_dev, status.st_ino) in wanted:
                        found[wanted[status.st_dev, status.st_ino]] = int(pid)
    return found
