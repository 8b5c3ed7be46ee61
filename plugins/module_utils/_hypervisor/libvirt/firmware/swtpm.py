# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that is a VM's TPM: it holds a lock on its state as long as it runs, and may write that once more as it ends."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.directories import (
    swtpm_directory,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.firmware_states import (
    PERMALL,
    TPM,
    FirmwareState,
    firmware_states,
)

_ENDS_WITHIN = 10.0  # seconds
_PAUSE = 0.05


def firmware_of(connection: Any, domain: Any) -> dict[str, FirmwareState]:
    """Return where a VM keeps its UEFI variables and the state of its TPM, by part. Raises `libvirtError`."""
    return firmware_states(domain, swtpm_directory(connection.getURI()))


@contextmanager
def let_go(part: str, file: str) -> Iterator[None]:
    """Keep swtpm away from a state for the block, once it has let go of it. Raises `OSError` where it does not.

    Its lock is on a file beside the state, or on the one file that has all its states.
    """
    locked = os.path.join(os.path.dirname(file), ".lock") if file.endswith(f".{PERMALL}") else file
    if part != TPM or not os.path.exists(locked):
        yield
        return
    with open(locked, "r+b") as stream:
        _take(stream.fileno(), file)
        yield


def _take(descriptor: int, file: str) -> None:
    end = time.monotonic() + _ENDS_WITHIN
    while True:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                return  # a file system without locks: swtpm has none there either
        if time.monotonic() > end:
            raise OSError(errno.EBUSY, "a swtpm process still has it", file)
        time.sleep(_PAUSE)
