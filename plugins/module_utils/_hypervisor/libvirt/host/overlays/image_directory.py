# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of a directory's images, and what changes there.

Of a local one the kernel tells that at once and name by name (inotify(7)), so that thousands need not be listed. A directory's
time says only that something did change, and not even that of two changes within one tick of the kernel's clock.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
import weakref
from collections.abc import Iterable, Iterator, Mapping, Set
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Optional, Union

# File systems that only this host's kernel changes: of what others do to a shared one nobody is told.
_LOCAL = ("ext2", "ext3", "ext4", "xfs", "btrfs", "tmpfs", "zfs", "f2fs", "bcachefs", "jfs", "overlay")
_MOVED_FROM, _MOVED_TO, _CREATE, _DELETE, _DELETE_SELF, _MOVE_SELF = 0x40, 0x80, 0x100, 0x200, 0x400, 0x800
_UNMOUNT, _OVERFLOW, _IGNORED, _ONLY_DIRECTORIES = 0x2000, 0x4000, 0x8000, 0x01000000
_ASKED = _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE | _DELETE_SELF | _MOVE_SELF | _ONLY_DIRECTORIES
_ENDED = _DELETE_SELF | _MOVE_SELF | _UNMOUNT | _IGNORED
_EVENT = struct.Struct("=iIII")  # watch, what happened, cookie, length of the name
_MOST = 1 << 16  # bytes in one reading


class NamedEntry:
    """What has a path, as `os.DirEntry` tells it. Raises `OSError` where nothing has."""

    def __init__(self, path: str) -> None:
        self.name, self.path = os.path.basename(path), path
        self._status = os.lstat(path)

    def inode(self) -> int:
        """Return its inode, a link's own."""
        return self._status.st_ino

    def is_symlink(self) -> bool:
        """Whether it is a symbolic link."""
        return stat.S_ISLNK(self._status.st_mode)

    def stat(self) -> os.stat_result:
        """Return the status of what it leads to."""
        return os.stat(self.path) if self.is_symlink() else self._status


Entry = Union["os.DirEntry[str]", NamedEntry]
Entries = Mapping[tuple[str, int], Entry]  # of a directory, by path and inode


@dataclass
class Header:
    """Of an image, what says on which files it is based; of a VM's saved ``memory``, which images it needs."""

    inode: int
    changed: Optional[int]  # ns; None of a block device
    backing: tuple[str, ...]  # the files that the header names, by their real paths
    based_on: tuple[Any, ...]  # those paths and, as a file may be moved, those files' keys when last looked at
    memory: bool = False


@dataclass
class Directory:
    """The images in a directory, as they were looked at last."""

    changed: int = -1
    read_at: float = 0.0
    headers: dict[str, Header] = field(default_factory=dict)
    # Overlays by the path, and by the file, that they are based on.
    above: dict[Any, set[str]] = field(default_factory=dict)
    # Files with saved memory by the images that it needs, in the same way.
    needed: dict[Any, set[str]] = field(default_factory=dict)
    unknown: str = ""  # why not all that lies here could be looked at
    listed: dict[str, int] = field(default_factory=dict)  # the inodes of those that lie here: links lead to the others

    def entries(self, path: str, names: Optional[Set[str]]) -> tuple[Entries, Optional[set[str]]]:
        """Return what lies here, or only what has the ``names`` that changed, and then the paths of these. Raises `OSError`.

        All, where that is not enough: something that was no image by its own name is gone, and may have been a link to one.
        """
        if names is not None and not self.unknown:
            paths = {os.path.join(path, name) for name in names}
            found = dict(_named(paths))
            if self.listed.keys() >= paths - {one for one, _inode in found}:
                return found, paths
        return {(entry.path, entry.inode()): entry for entry in os.scandir(path)}, None

    def forget(self, entries: Entries, looked_at: Optional[Set[str]], thorough: bool) -> set[str]:
        """Return the images that are not here any more, or are others, or by a link; all where nothing is trusted any more.

        ``entries`` has what there is at the paths that were ``looked_at``, or at all.
        """
        if looked_at is not None:
            gone = {one for one in looked_at & self.listed.keys() if (one, self.listed[one]) not in entries}
        else:
            gone = set(self.listed) if thorough else {one for one, _inode in self.listed.items() - entries.keys()}
        for one in gone:
            del self.listed[one]
        return self.headers.keys() - self.listed.keys() if looked_at is None else gone

    def renew(self, stale: Set[str], read: Mapping[str, Header], fresh: Entries) -> None:
        """Take what was ``read`` of all that is ``fresh`` in place of what is ``stale``: beside thousands, often one."""
        self.listed.update((path, inode) for path, inode in fresh if path in read)
        for overlay in {*stale, *read}:
            before, now = self.headers.pop(overlay, None), read.get(overlay)
            if before is not now:
                for name in before.based_on if before else ():
                    (self.needed if before and before.memory else self.above)[name].discard(overlay)
                for name in now.based_on if now else ():
                    (self.needed if now and now.memory else self.above).setdefault(name, set()).add(overlay)
            if now:
                self.headers[overlay] = now


def _named(paths: Iterable[str]) -> Iterator[tuple[tuple[str, int], NamedEntry]]:
    for path in paths:
        with suppress(FileNotFoundError):
            entry = NamedEntry(path)
            yield (path, entry.inode()), entry


class DirectoryChanges:
    """The names that changed in directories since each was asked for. Not for several threads at once."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None)
        self._events = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)  # -1: none is to be had
        if self._events >= 0:
            weakref.finalize(self, os.close, self._events)
        self._directories: dict[int, str] = {}
        # With what tells a directory from every other one: the path may lead to another by now.
        self._watches: dict[str, tuple[int, tuple[int, int]]] = {}
        self._names: dict[str, set[str]] = {}

    def since(self, directory: str, status: os.stat_result, file_system: str) -> Optional[set[str]]:
        """Return the names that came, went or changed hands in a directory since this was asked last.

        None where nobody can tell: it is to be listed. ``status`` is the directory's at this moment.
        """
        if file_system not in _LOCAL or self._events < 0:
            return None
        self._read()
        key = status.st_dev, status.st_ino
        watch, known = self._watches.get(directory, (-1, None))
        if known == key:
            names, self._names[directory] = self._names[directory], set()
            return names
        self._end(directory, watch)  # another directory is there now
        self._begin(directory, key)
        return None

    def _begin(self, directory: str, key: tuple[int, int]) -> None:
        watch = self._libc.inotify_add_watch(self._events, os.fsencode(directory), _ASKED)
        # One directory has one watch, by whatever path (a bind mount): only the first is told of.
        if watch >= 0 and watch not in self._directories:
            self._directories[watch] = directory
            self._watches[directory] = watch, key
            self._names[directory] = set()

    def _end(self, directory: str, watch: int) -> None:
        if self._directories.pop(watch, None) is not None:
            del self._watches[directory], self._names[directory]
            self._libc.inotify_rm_watch(self._events, watch)

    def _read(self) -> None:
        for watch, happened, name in self._told():
            if happened & _OVERFLOW:
                for one, directory in list(self._directories.items()):
                    self._end(directory, one)
            directory = self._directories.get(watch, "")
            if directory and happened & _ENDED:
                self._end(directory, watch)
            elif directory:
                self._names[directory].add(os.fsdecode(name))

    def _told(self) -> Iterator[tuple[int, int, bytes]]:
        while True:
            try:
                told = os.read(self._events, _MOST)
            except BlockingIOError:
                return
            at = 0
            while at < len(told):
                watch, happened, _cookie, length = _EVENT.unpack_from(told, at)
                yield watch, happened, told[at + _EVENT.size : at + _EVENT.size + length].rstrip(b"\0")
                at += _EVENT.size + length
