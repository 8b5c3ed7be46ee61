# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One path for one file: links are followed, and of a directory that several mounts show (a bind mount, a file system that is
mounted twice) the first of them counts. Paths are compared by this name, and told as people spelled them.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable
from typing import Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.mounts import (
    Mount,
    Mounts,
    current_mounts,
)

_TRUSTED_SECONDS = 0.05


def real_path(path: str) -> str:
    """Return the one name of what a path leads to, be it there or not."""
    return first_path(os.path.realpath(path))


def first_path(path: str) -> str:
    """Return the name of a path that has no links in it, as the first mount of its directory shows it."""
    return _first_names()(path)


class _FirstNames:
    """Where the mounts of one moment are shown for the first time."""

    def __init__(self, mounts: Mounts) -> None:
        self.mounts = mounts
        self._several = _several(mounts.every())
        self._first: dict[str, Optional[str]] = {}  # of each mount point, None where it is the first itself

    def __call__(self, path: str) -> str:
        if not self._several or not path.startswith("/"):
            return path
        mount = self.mounts.of(path)
        if mount.point not in self._first:
            self._first[mount.point] = self._of(mount)
        first = self._first[mount.point]
        if first is None:
            return path
        beyond = path[len(mount.point.rstrip("/")) :].lstrip("/")
        found = os.path.join(first, beyond) if beyond else first
        # Something else may be mounted over it.
        return found if self.mounts.of(found).point == self.mounts.of(first).point else path

    def _of(self, mount: Mount) -> Optional[str]:
        """Return where another mount, of more of the file system or an earlier one, shows the same; None where none does."""
        for other in self._several.get(mount.device, ()):
            if other == mount:
                return None
            below = os.path.relpath(mount.root, other.root)
            found = os.path.normpath(os.path.join(other.point, below))
            if below.startswith("..") or self.mounts.of(found) != other or not self.mounts.answers(mount.point):
                continue
            # Of a network file system each mount may call its own root "/".
            key = _key(found)
            if key is not None and key == _key(mount.point):
                return found
        return None


def _several(mounts: Iterable[Mount]) -> dict[str, list[Mount]]:
    """Return the file systems that are mounted more than once, by their devices: what shows most of each comes first."""
    by_device: dict[str, list[Mount]] = {}
    for mount in mounts:
        by_device.setdefault(mount.device, []).append(mount)
    return {device: sorted(found, key=_depth) for device, found in by_device.items() if len(found) > 1}


def _depth(mount: Mount) -> int:
    return len(list(filter(None, mount.root.split("/"))))


def _key(directory: str) -> Optional[tuple[int, int]]:
    try:
        status = os.stat(directory)
    except OSError:
        return None
    return status.st_dev, status.st_ino


class _Current:
    """Those of the mounts that there are now, or were a moment ago: thousands of paths are asked for in that."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: tuple[Optional[_FirstNames], float] = (None, 0.0)

    def __call__(self) -> _FirstNames:
        names, until = self._known
        if names is not None and time.monotonic() < until:
            return names
        with self._lock:
            mounts = current_mounts()
            if names is None or names.mounts is not mounts:
                names = _FirstNames(mounts)
            self._known = names, time.monotonic() + _TRUSTED_SECONDS
            return names


_first_names = _Current()
