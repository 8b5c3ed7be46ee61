# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who has an image open and is no process of its host: another host of a shared file system, or a program outside a container.

What the host's kernel knows of such a one are its locks. A hypervisor of the lab is a container, and this process is outside it.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from contract.world import IMAGES
from lab.api import Host
from lab.paths import host_disks

from .field import make_vm
from .planted import Planted, planted

__all__ = ("AWAY", "away", "locked_elsewhere", "make_vm", "planted")

AWAY = f"{IMAGES}/fe"  # nothing of these VMs lies anywhere else
_SET_LOCK = 37  # F_OFD_SETLK, fcntl(2)
# As QEMU's block/file-posix.c has them: what it may do is locked from byte 100 on, what nobody else may from 200 on.
_READS, _WRITES = (100, 201, 203), (100, 101, 103, 201, 203)


@pytest.fixture
def away(planted: Planted) -> Iterator[None]:
    planted.host.run(f"rm -rf {AWAY}; mkdir -p {AWAY}")
    yield
    planted.host.run(f"rm -rf {AWAY}")


@contextmanager
def locked_elsewhere(host: Host, file: str, *, writing: bool = False) -> Iterator[None]:
    """Have an image open as another host's QEMU has it, as long as the block lasts."""
    with (host_disks(host.name) / Path(file).relative_to(IMAGES)).open("rb") as stream:
        for byte in _WRITES if writing else _READS:
            fcntl.fcntl(stream, _SET_LOCK, struct.pack("@hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, byte, 1, 0))
        yield
