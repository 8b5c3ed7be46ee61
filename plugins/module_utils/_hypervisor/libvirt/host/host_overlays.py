# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Image files of a host beyond one VM: which overlay is based on which file, and who uses what.

Read once in a run of a module, for all its threads, and looked at again as it gets old: new files are seen at once where
they may matter, anything else within a second or, on a large host, within some times what the reading takes.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Collection, Iterable, Set
from typing import Any, Callable, Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.file_identity import (
    file_key,
    holds_no_images,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.file_users import Users
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.mounts import Mounts, Twins
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.overlays.image_directory import (
    Directory,
    DirectoryChanges,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.overlays.read_headers import (
    HeaderReader,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.real_paths import (
    first_path,
    real_path,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.users.read_users import (
    read_users,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.users.saved_memory import (
    SavedMemory,
    still_of_use,
)

_TRUSTED_SECONDS = 1.0
_TIMES_THE_READING = 10
# A directory's time has the kernel's tick: what came within it of our look may be missing.
_TICK = 50_000_000  # ns


class HostFiles:
    """What one run has read so far. Paths in and out are real paths, so that two names of a file are one."""

    def __init__(
        self, noted: Callable[[], Iterable[str]] = tuple, noted_of: Callable[[str], Iterable[str]] = lambda _uuid: ()
    ) -> None:
        """``noted`` tells of files that this collection has made for any VM, which may be gone, or elsewhere by now.

        ``noted_of`` tells of the images that a VM, by its UUID, had when they were noted.
        """
        self._noted = noted
        self._noted_of = noted_of
        self._lock = threading.Lock()
        self._directories: dict[str, Directory] = {}
        self._users: Optional[Users] = None
        self._users_until = 0.0
        self._led_to: set[str] = set()  # the directories of all that headers name
        self._twins = Twins()
        self._changes = DirectoryChanges()
        self.mounts = Mounts()
        self._reader = HeaderReader(self.mounts)

    def users(self, connection: Any) -> Users:
        """Return who uses what on this host. Raises `libvirtError`."""
        with self._lock:
            started = time.monotonic()
            if self._users is None or started > self._users_until:
                self._users = read_users(connection, self.mounts)
                self._users.add_noted(self._noted_of)
                homes = {os.path.dirname(real_path(file)) for file in self._noted() if self.mounts.answers(file)}
                self._users.directories |= homes
                ended = time.monotonic()
                self._users_until = ended + max(_TRUSTED_SECONDS, _TIMES_THE_READING * (ended - started))
            return self._users

    def look_into(self, directories: Iterable[str]) -> None:
        """See what overlays lie in directories."""
        with self._lock:
            for directory in set(map(first_path, directories)):
                self._look_into(directory)

    def look_around(self, directories: Iterable[str]) -> None:
        """See what overlays lie in directories and where these lead: a layer between two may lie where no VM has a disk."""
        seen, waiting = set[str](), set(map(first_path, directories))
        with self._lock:
            while waiting:
                for directory in waiting:
                    self._look_into(directory)
                seen |= waiting
                waiting = self._led_to - seen

    def why_unknown(self, file: str) -> Optional[str]:
        """Return why not all that lies beside a file could be looked at; None where it could, or nobody has looked."""
        directory = os.path.dirname(file)
        with self._lock:
            found = self._directories.get(directory)
            return f"in {directory} {found.unknown}" if found and found.unknown else None

    def above(self, file: str, own: Collection[str] = ()) -> list[str]:
        """Return the overlays that are based on a file, in the directories that were looked into, sorted.

        One of the caller's ``own`` files is told by that path alone, also where a bind mount shows it a second time.
        """
        key = file_key(file)
        with self._lock:
            based = [one.above.get(name, ()) for one in self._directories.values() for name in (file, key)]
        return sorted(overlay for overlay in set().union(*based) if not self._twins.shows(own, overlay))

    def memories(self, file: str) -> list[SavedMemory]:
        """Return the memory of VMs, in the directories that were looked into, that goes with an image as that is now."""
        key = file_key(file)
        with self._lock:
            found = [one.needed.get(name, ()) for one in self._directories.values() for name in (file, key)]
        return list(still_of_use(sorted(set().union(*found))))

    def strangers(self, own: Set[str], known: Set[str], users: Users) -> list[str]:
        """Return overlays that lead into a VM's own files and that nothing on the host knows or uses."""

        def is_known(file: str) -> bool:
            return file in known or bool(users.of(file))

        found, waiting = set(), [overlay for file in own for overlay in self.above(file, known)]
        while waiting:
            overlay = waiting.pop()
            # The walk ends at what is known: an overlay above another VM's file is that VM's trouble.
            if overlay not in found and not is_known(overlay):
                found.add(overlay)
                waiting.extend(self.above(overlay, known))
        return sorted(overlay for overlay in found if not any(map(is_known, self.all_above(overlay))))

    def all_above(self, file: str) -> set[str]:
        """Return all that is based on a file, directly or not."""
        seen: set[str] = set()
        waiting = [file]
        while waiting:
            fresh = set(self.above(waiting.pop())) - seen
            seen |= fresh
            waiting.extend(fresh)
        return seen

    def _look_into(self, path: str) -> None:
        """Read what is new in a directory; where that cannot be done, what was known of it stays, and it is unknown."""
        known = self._directories.setdefault(path, Directory())
        if not self.mounts.answers(path):
            known.unknown = "the file system does not answer"
            return
        now = time.monotonic()
        thorough = now - known.read_at > _TRUSTED_SECONDS
        try:
            status = os.stat(path)
            self._twins.note(path, status)
            names, changed = self._changes.since(path, status, self.mounts.of(path).kind), status.st_mtime_ns
            if not thorough and (changed == known.changed if names is None else not names):
                return
            unread: list[str] = []
            entries, looked_at = known.entries(path, None if thorough else names)
            stale = known.forget(entries, looked_at, thorough)
            fresh = {key: entry for key, entry in entries.items() if known.listed.get(key[0]) != key[1]}
            read = dict(self._reader.read(fresh.values(), known.headers, unread))
        except FileNotFoundError:
            fresh, stale, read, changed, unread = {}, known.forget({}, None, True), {}, -1, []
        except OSError as error:
            known.unknown = f"files cannot be listed: {error.strerror}"
            return
        known.unknown = f"{unread[0]} cannot be read" if unread else ""
        known.renew(stale, read, fresh)
        homes = {os.path.dirname(file) for one in read.values() for file in one.backing}
        self._led_to.update(home for home in homes if not holds_no_images(home))
        known.read_at = now if thorough else known.read_at
        known.changed = changed if time.time_ns() - changed > _TICK else -1
