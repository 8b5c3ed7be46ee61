# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What this collection keeps of a VM on its host: a lock, the operation under way, what libvirt has no place for.

One JSON file and one lock file a VM, named by UUID so that a rename of the VM loses nothing.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.limiquantix.kvm.plugins.module_utils._deadline import Deadline
from ansible_collections.limiquantix.kvm.plugins.module_utils._errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._snapshot import DomainId

_ROOT_DIRECTORY = "/var/lib/limiquantix-kvm"
_LOCK_POLL = 0.1  # seconds


def record_directory(uri: str) -> str:
    """Return where the records of a hypervisor lie."""
    if uri.endswith("/session"):
        base = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
        return os.path.join(base, "limiquantix-kvm")
    return _ROOT_DIRECTORY


@dataclass(frozen=True)
class Record:
    """One VM's record.

    ``quiesced`` tells of the snapshots taken by us whether they were, by `snapshot_key`; ``taking`` names the files
    of a take under way.
    """

    quiesced: dict[str, bool] = field(default_factory=dict)
    taking: tuple[str, ...] = ()


def snapshot_key(name: str, created_at: str | None) -> str:
    """Return what tells a snapshot from a later one of the same name."""
    return f"{name} {created_at}"


class Records:
    """The records of one hypervisor's VMs."""

    def __init__(self, directory: str) -> None:
        self._directory = directory

    def read(self, domain: DomainId) -> Record:
        """Return a VM's record; an empty one where there is none."""
        try:
            with open(self._path(domain, "json"), encoding="utf-8") as file:
                values: dict[str, Any] = json.load(file)
        except FileNotFoundError:
            return Record()
        except (OSError, ValueError) as error:
            raise self._unusable(error) from error
        return Record(quiesced=values.get("quiesced", {}), taking=tuple(values.get("taking", ())))

    def write(self, domain: DomainId, record: Record) -> None:
        """Replace a VM's record in one step. Raises ``record_unusable``."""
        path = self._path(domain, "json")
        try:
            with open(path + ".new", "w", encoding="utf-8") as file:
                json.dump({"quiesced": record.quiesced, "taking": list(record.taking)}, file)
            os.replace(path + ".new", path)
        except OSError as error:
            raise self._unusable(error) from error

    @contextmanager
    def lock(self, domain: DomainId, deadline: Deadline) -> Iterator[None]:
        """Hold the VM's lock; the kernel lets go of it when the holder ends, however it ends. Raises ``locked``."""
        try:
            os.makedirs(self._directory, mode=0o700, exist_ok=True)
            descriptor = os.open(self._path(domain, "lock"), os.O_CREAT | os.O_RDWR, 0o600)
        except OSError as error:
            raise self._unusable(error) from error
        try:
            self._acquire(descriptor, domain, deadline)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
            yield
        finally:
            os.close(descriptor)

    def held(self, domain: DomainId) -> bool:
        """Whether a run holds the VM's lock at this moment."""
        try:
            descriptor = os.open(self._path(domain, "lock"), os.O_RDONLY)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)  # let go of by closing
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def _acquire(self, descriptor: int, domain: DomainId, deadline: Deadline) -> None:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if deadline.passed:
                    raise self._locked(descriptor, domain, deadline) from None
                time.sleep(min(_LOCK_POLL, deadline.remaining()))

    def _locked(self, descriptor: int, domain: DomainId, deadline: Deadline) -> KvmError:
        holder = os.pread(descriptor, 32, 0).decode() or "unknown"
        return KvmError(
            "locked",
            f"Another run of this collection (pid {holder}) has held {domain.name} for {deadline.seconds:g} seconds.",
            "Nothing was changed. Wait for it, or give a longer timeout.",
            pid=holder,
        )

    def _path(self, domain: DomainId, suffix: str) -> str:
        return os.path.join(self._directory, f"{domain.uuid}.{suffix}")

    def _unusable(self, error: Exception) -> KvmError:
        remedy = "Nothing was changed. It needs become: true, room, and a directory that can be written."
        return KvmError("record_unusable", f"Cannot use this collection's records: {error}.", remedy)
