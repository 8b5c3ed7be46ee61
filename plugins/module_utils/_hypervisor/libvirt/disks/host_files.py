# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Image files of a host beyond one VM: which overlay sits on which file, and which files its domains name.

Each directory is read once in a run of a module, for all its threads; the domains once too, and only where it is needed.
"""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Iterable, Iterator, Set
from typing import Callable

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.image import read_image

# What reading an image raises: it cannot be read, or its header holds anything at all. Of a raw disk that is its guest's
# choice, down to a path with a NUL in it or JSON of endless depth.
UNREADABLE = (OSError, ValueError, AttributeError, RecursionError, struct.error)


class HostFiles:
    """What one run has read so far. Paths in and out are real paths, so that two names of a file are one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._scanned: set[str] = set()
        self._backing: dict[str, str] = {}
        self._overlays: dict[str, list[str]] = {}  # by what they are backed by
        self._named: frozenset[str] | None = None
        self._directories: set[str] | None = None

    def named_directories(self, named: Callable[[], Iterable[str]]) -> set[str]:
        """Return every directory that holds a file which ``named`` tells; the host's domains are read once."""
        with self._lock:
            if self._directories is None:
                self._directories = {os.path.dirname(file) for file in named()}
            return self._directories

    def strangers(self, tops: Set[str], overlays: Set[str], named: Callable[[], Iterable[str]]) -> list[str]:
        """Return overlays beside a VM's files that lead into one of these and that nothing on the host names.

        ``tops`` are the files its disks are on, ``overlays`` those of its snapshots. What these are backed by is the VM's
        own too, but no template below that: what sits there is another VM's. ``named`` tells all files that the host's
        domains and their snapshots name; as long as all that is found is the VM's own, it is not even called.
        """
        with self._lock:
            self._scan_around(tops | overlays)
            own = tops | overlays | {self._backing[file] for file in overlays if file in self._backing}
            self._scan_around(own)
            first = [overlay for file in own for overlay in self._above(file) if overlay not in own]
            if not first:
                return []
            if self._named is None:
                self._named = frozenset(named())
                # A domain may have its image elsewhere, on an overlay that lies here.
                self._scan_around(self._named)
            return self._strangers(first, own | self._named)

    def _strangers(self, overlays: Iterable[str], known: Set[str]) -> list[str]:
        # The walk ends at what is known: an overlay above another domain's file is that domain's trouble.
        found, waiting = set(), list(overlays)
        while waiting:
            overlay = waiting.pop()
            if overlay not in found and overlay not in known:
                found.add(overlay)
                waiting.extend(self._above(overlay))
        return sorted(overlay for overlay in found if not self._carries(overlay, known))

    def _carries(self, file: str, known: Set[str]) -> bool:
        """Whether something known has the file among its layers."""
        seen, waiting = {file}, [file]
        while waiting:
            for overlay in self._above(waiting.pop()):
                if overlay in known:
                    return True
                if overlay not in seen:
                    seen.add(overlay)
                    waiting.append(overlay)
        return False

    def _above(self, file: str) -> list[str]:
        return self._overlays.get(file, [])

    def _scan_around(self, files: Iterable[str]) -> None:
        for directory in {os.path.dirname(file) for file in files} - self._scanned:
            self._scanned.add(directory)
            for overlay, backing in overlays_in(directory):
                self._backing[overlay] = backing
                self._overlays.setdefault(backing, []).append(overlay)


def overlays_in(directory: str) -> Iterator[tuple[str, str]]:
    """Yield the overlays in a directory and the real path of what they are backed by, going by their headers alone.

    No file that a header names is opened: a raw disk's first bytes are its guest's, which may write there what it likes.
    """
    try:
        entries = list(os.scandir(directory))
    except OSError:
        return  # the VM's files in it are reported as unreadable where its chain is read
    for entry in entries:
        try:
            if not entry.is_file(follow_symlinks=False):
                continue
            backing = read_image(entry.path, "qcow2").backing_file
            found = None if backing is None else os.path.realpath(backing)
        except UNREADABLE:
            continue
        if found is not None:
            yield entry.path, found
