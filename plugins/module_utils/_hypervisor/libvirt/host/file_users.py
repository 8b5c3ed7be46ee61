# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The map of who uses what on this host, by libvirt's word and by what users' own daemons have saved.

It holds every file that a VM, as it runs and as it is defined, a snapshot, a checkpoint or a saved memory names, whatever
for. Two names of one file (links, bind mounts) are one: what counts is the file itself. What nobody can tell makes only
its own directory unknown, and unknown is not nobody.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.file_identity import (
    file_key,
    holds_no_images,
    is_device,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.real_paths import real_path


@dataclass(frozen=True)
class User:
    """Who uses a file: ``images`` as one of a VM's disks, now or in its past, ``writes`` as one that it writes to."""

    name: str
    uuid: str
    images: bool
    writes: bool

    def __str__(self) -> str:
        return self.name


class Users:
    """Who uses which file, and in which directories an image may lie that is based on another."""

    def __init__(self) -> None:
        self._by_path: dict[str, list[User]] = {}
        self._by_file: dict[tuple[int, int], list[User]] = {}
        self._links: dict[str, str] = {}  # directories as they are named, and really
        self.directories: set[str] = set()
        self.device_directories: set[str] = set()  # where VMs have disks on devices: an image may be on one
        self.with_checkpoints: set[str] = set()  # VMs by UUID
        self.unknown: dict[str, str] = {}
        self.absent: dict[str, User] = {}  # disks that VMs are defined on and that are not there

    def add(self, path: str, user: User, image: bool = True) -> None:
        """Note that somebody uses a file."""
        real, key = self._resolved(path)
        if key is None and user.writes:
            self.absent[real] = user
        self._by_path.setdefault(real, []).append(user)
        if key:
            self._by_file.setdefault(key, []).append(user)
        directory = os.path.dirname(real)
        if image and not holds_no_images(directory):
            self.directories.add(directory)
        elif image and is_device(real):
            self.device_directories.add(directory)

    def add_file(self, key: tuple[int, int], user: User) -> None:
        """Note that somebody uses a file of which device and inode are known, and maybe no path that leads there."""
        self._by_file.setdefault(key, []).append(user)

    def _resolved(self, path: str) -> tuple[str, Optional[tuple[int, int]]]:
        """Return a file's real path and what tells it from others; a host's files lie in few directories, resolved once."""
        named, name = os.path.split(path)
        if name in ("", ".", ".."):
            return real_path(path), file_key(path)
        if named not in self._links:
            self._links[named] = real_path(named)
        real = os.path.join(self._links[named], name)
        try:
            status = os.lstat(real)
        except OSError:
            return real, None
        if stat.S_ISLNK(status.st_mode):
            return real_path(real), file_key(real)
        return real, (status.st_dev, status.st_ino)

    def of(self, file: str, but: str = "") -> list[User]:
        """Return who uses a file, less the VM of the UUID ``but`` where it does so as one of its own images."""
        key = file_key(file)
        found = (*self._by_path.get(file, ()), *(self._by_file.get(key, ()) if key else ()))
        return [user for user in dict.fromkeys(found) if user.uuid != but or not user.images]

    def add_noted(self, noted: Callable[[str], Iterable[str]]) -> None:
        """Note what is known of the layers under disks that are not there: what was ``noted`` of their VM, by its UUID."""
        for path, user in self.absent.items():
            name = f"{user}, whose disk {path} is not there now,"
            for image in noted(user.uuid) if user.uuid else ():
                self.add(image, User(name, user.uuid, True, False))

    def why_unknown(self, file: str) -> Optional[str]:
        """Return why nobody can tell who uses a file; None where it can be told."""
        return next((why for home, why in self.unknown.items() if file.startswith(home.rstrip("/") + "/")), None)
