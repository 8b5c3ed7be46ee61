# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file systems of this host: which of them other hosts write to as well, and which do not answer."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from ansible_collections.limiquantix.kvm.plugins.module_utils._values.deadline import within

_T = TypeVar("_T")

# Where another host may be using a file that nobody on this one knows of.
_SHARED = (
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "ceph",
    "gfs2",
    "ocfs2",
    "glusterfs",
    "lustre",
    "9p",
    "virtiofs",
    "beegfs",
)
_ANSWER_SECONDS = 3.0
_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True)
class Mount:
    """A mounted file system."""

    point: str
    kind: str
    device: str  # MAJOR:MINOR

    @property
    def shared(self) -> bool:
        """Whether other hosts may have it mounted too."""
        return self.kind in _SHARED or (self.kind.startswith("fuse.") and self.kind[5:] in (*_SHARED, "sshfs"))


class Mounts:
    """What is mounted, read once."""

    def __init__(self) -> None:
        self._by_point = {mount.point: mount for mount in _read()}
        self._answers: dict[str, bool] = {}

    def of(self, path: str) -> Mount:
        """Return the file system that a path without symbolic links is on."""
        while path not in self._by_point and path != "/":
            path = os.path.dirname(path)
        return self._by_point.get(path, Mount("/", "", ""))

    def answers(self, path: str) -> bool:
        """Whether the file system of a path can be looked at: a dead NFS server blocks whoever asks, for ever."""
        mount = self.of(os.path.normpath(path))
        if not mount.shared:
            return True
        if mount.point not in self._answers:
            self._answers[mount.point] = _answers(mount.point)
        return self._answers[mount.point]

    def mounted(self, device: str) -> str | None:
        """Return where a block device (MAJOR:MINOR) is mounted."""
        return next((mount.point for mount in self._by_point.values() if mount.device == device), None)


def in_time(ask: Callable[[], _T]) -> _T:
    """Return what a function finds on a file system or device; raise `TimeoutError` where that does not answer."""
    return within(_ANSWER_SECONDS, ask)


def _answers(point: str) -> bool:
    try:
        in_time(lambda: os.statvfs(point))
    except OSError:
        return False
    return True


def _read() -> Iterator[Mount]:
    # Fields: id, parent, device, root, mount point, options, …, "-", type, source, options (proc_pid_mountinfo(5)).
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                before, _separator, after = line.partition(" - ")
                fields = before.split()
                yield Mount(_OCTAL.sub(_character, fields[4]), after.split()[0], fields[2])
    except OSError:
        return


def _character(match: re.Match[str]) -> str:
    return chr(int(match[1], 8))
