# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock of a VM: one file; the kernel lets go of it when the holder ends, however it ends."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.refusals import record_unusable
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.deadline import Deadline
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError

_POLL = 0.1  # seconds


@contextmanager
def lock(path: str, vm: str, deadline: Deadline) -> Iterator[None]:
    """Hold the lock in a file. Raises ``locked`` where another has it until the deadline, or ``record_unusable``."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as error:
        raise record_unusable(error) from error
    try:
        _acquire(descriptor, vm, deadline)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def held(path: str, by_others: bool = False) -> bool:
    """Whether a run holds the lock in a file at this moment; ``by_others`` whether another one than this does."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)  # let go of by closing
    except BlockingIOError:
        return not by_others or os.pread(descriptor, 20, 0) != str(os.getpid()).encode()
    finally:
        os.close(descriptor)
    return False


def _acquire(descriptor: int, vm: str, deadline: Deadline) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if deadline.passed:
                raise _locked(descriptor, vm, deadline) from None
            time.sleep(min(_POLL, deadline.remaining()))


def _locked(descriptor: int, vm: str, deadline: Deadline) -> KvmError:
    holder = os.pread(descriptor, 32, 0).decode() or "unknown"
    return KvmError(
        "locked",
        f"Another run of this collection (pid {holder}) has been at work on {vm} for {deadline.seconds:g} seconds.",
        "Nothing was changed. Wait for it, or give a longer timeout.",
        pid=holder,
    )
