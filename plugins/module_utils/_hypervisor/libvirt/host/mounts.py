# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file systems of this host: which of them other hosts write to as well, and which do not answer."""

from __future__ import annotations

import os
import re
import select
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Optional, TypeVar

from ansible_collections.limiquantix.kvm.plugins.module_utils._values.deadline import within
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.storage import FileSystem

_T = TypeVar("_T")

# What only this host can have mounted. On any other kind, known or not, another host may be using a file.
_LOCAL = frozenset(
    [
        "ext2",
        "ext3",
        "ext4",
        "xfs",
        "btrfs",
        "zfs",
        "bcachefs",
        "f2fs",
        "jfs",
        "nilfs2",
        "reiserfs",
        "ufs",
        "minix",
        "vfat",
        "msdos",
        "exfat",
        "ntfs",
        "ntfs3",
        "fuseblk",
        "hfs",
        "hfsplus",
        "squashfs",
        "erofs",
        "iso9660",
        "udf",
        "overlay",
        "aufs",
        "tmpfs",
        "ramfs",
        "rootfs",
        "devtmpfs",
        "proc",
        "sysfs",
        "autofs",
    ]
)
_TABLE = "/proc/self/mountinfo"
_ANSWER_SECONDS = 3.0
_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True)
class Mount:
    """A mounted file system."""

    point: str
    kind: str
    device: str  # MAJOR:MINOR
    root: str = "/"  # what of the file system is shown

    @property
    def shared(self) -> bool:
        """Whether other hosts may have it mounted too."""
        return self.kind not in _LOCAL and self.kind != ""


class Mounts:
    """What is mounted, read once."""

    def __init__(self) -> None:
        self._by_point = {mount.point: mount for mount in _read()}
        self._on: dict[str, Mount] = {}  # of each directory that was asked for
        self._named: dict[str, Mount] = {}  # of each path that was asked for
        self._answers: dict[str, bool] = {}

    def of(self, path: str) -> Mount:
        """Return the file system that a path without symbolic links is on."""
        if path in self._by_point or path == "/":
            return self._by_point.get(path, Mount("/", "", ""))
        directory = os.path.dirname(path)
        if directory not in self._on:
            self._on[directory] = self.of(directory)
        return self._on[directory]

    def answers(self, path: str) -> bool:
        """Whether the file system of a path can be looked at: a dead NFS server blocks whoever asks, for ever."""
        if path not in self._named:
            self._named[path] = self.of(os.path.normpath(path))
        mount = self._named[path]
        if not mount.shared:
            return True
        if mount.point not in self._answers:
            self._answers[mount.point] = _answers(mount.point)
        return self._answers[mount.point]

    def nearby(self, directories: Iterable[str]) -> set[str]:
        """Return the folders in directories, above them and beside them: where people put what they base on an image.

        Of their own file systems only: a look into another one may mount it, or wait for it.
        """
        found: set[str] = set()
        for directory in {one for path in directories for one in (path, os.path.dirname(path)) if one != "/"}:
            mount = self.of(directory)
            if self.answers(directory):
                folders = {directory, *_folders(directory)}
                found.update(folder for folder in folders if self.of(folder) == mount)
        return found

    def every(self) -> list[Mount]:
        """Return all that is mounted, the first first."""
        return list(self._by_point.values())

    def mounted(self, device: str) -> str | None:
        """Return where a block device (MAJOR:MINOR) is mounted."""
        return next((mount.point for mount in self._by_point.values() if mount.device == device), None)


class _Current:
    """The mounts of this moment: read again where the kernel says that there was a change since (proc_pid_mountinfo(5))."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changes: Optional[select.poll] = None
        self._mounts: Optional[Mounts] = None

    def __call__(self) -> Mounts:
        """Return them."""
        with self._lock:
            if self._have_changed() or self._mounts is None:
                self._mounts = Mounts()
            return self._mounts

    def _have_changed(self) -> bool:
        """Whether they have since this was asked last; so it was, where nobody can tell."""
        if self._changes is not None:
            return bool(self._changes.poll(0))
        with suppress(OSError):
            table = os.open(_TABLE, os.O_RDONLY)  # open as long as this process lives
            self._changes = select.poll()
            self._changes.register(table, select.POLLPRI)
        return True


current_mounts = _Current()


class Twins:
    """Directories that have several paths, which bind mounts make: what lies in one is shown by each of them."""

    def __init__(self) -> None:
        self._keys: dict[str, tuple[int, int]] = {}
        self._others: dict[str, list[str]] = {}

    def note(self, directory: str, status: os.stat_result) -> None:
        """Take note of what a directory is."""
        key = status.st_dev, status.st_ino
        if self._keys.get(directory) != key:
            self._keys[directory] = key
            by_key: dict[tuple[int, int], list[str]] = {}
            for path, known in self._keys.items():
                by_key.setdefault(known, []).append(path)
            self._others = {path: paths for paths in by_key.values() if len(paths) > 1 for path in paths}

    def shows(self, own: Collection[str], file: str) -> bool:
        """Whether a file is one's ``own`` by another path of its directory only."""
        home, name = os.path.split(file)
        return file not in own and any(os.path.join(twin, name) in own for twin in self._others.get(home, ()))


def in_time(ask: Callable[[], _T]) -> _T:
    """Return what a function finds on a file system or device; raise `TimeoutError` where that does not answer."""
    return within(_ANSWER_SECONDS, ask)


def filesystems(files: Collection[str], mounts: Mounts) -> tuple[FileSystem, ...]:
    """Return the file systems with these images; one that does not answer, or whose image is gone, is known by its path only.

    What is no file of this host, such as an NBD export that is the base of others, is on none.
    """
    held: dict[str, list[str]] = {}
    directories: dict[str, str] = {}
    for file in sorted(file for file in files if file.startswith("/") and not file.startswith("/dev/")):
        directory = os.path.dirname(file)
        if directory not in directories:
            directories[directory] = mounts.of(_real(directory)).point
        held.setdefault(directories[directory], []).append(file)
    return tuple(FileSystem(point, *_room(point), tuple(held[point])) for point in sorted(held))


def _real(directory: str) -> str:
    try:
        return in_time(lambda: os.path.realpath(directory))
    except OSError:
        return os.path.normpath(directory)


def _room(point: str) -> tuple[int | None, int | None]:
    """Return how large a file system is, and what is free of it for everybody."""
    try:
        status = in_time(lambda: os.statvfs(point))
    except OSError:
        return None, None
    return status.f_blocks * status.f_frsize, status.f_bavail * status.f_frsize


def _answers(point: str) -> bool:
    try:
        in_time(lambda: os.statvfs(point))
    except OSError:
        return False
    return True


def _folders(directory: str) -> list[str]:
    try:
        return [entry.path for entry in os.scandir(directory) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def _read() -> Iterator[Mount]:
    # Fields: id, parent, device, root, mount point, options, …, "-", type, source, options (proc_pid_mountinfo(5)).
    try:
        with open(_TABLE, encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                before, _separator, after = line.partition(" - ")
                fields = before.split()
                root, point = (_OCTAL.sub(_character, field) for field in fields[3:5])
                yield Mount(point, after.split()[0], fields[2], root)
    except OSError:
        return


def _character(match: re.Match[str]) -> str:
    return chr(int(match[1], 8))
