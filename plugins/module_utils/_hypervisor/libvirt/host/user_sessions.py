# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""VMs of users' own libvirt daemons (qemu:///session): these are not started for this, what they have saved are files."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.libraries import etree
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.pool_directories import target

_CONFIG = ".config/libvirt"
_RUNTIME = "/run/user"  # with a directory for each user, by number
_RUNNING, _RUNNING_POOLS = "*/libvirt/qemu/run/*.xml", "*/libvirt/storage/run/*.xml"
_SYSTEM_POOLS = "/etc/libvirt/storage/*.xml"
# A saved VM's memory begins with a header and then its XML (libvirt's virQEMUSaveHeader).
SAVED_HEAD = 1 << 20
SYSTEM = "/etc/libvirt/qemu"  # the home of the system's own daemon


@dataclass(frozen=True)
class SavedText:
    """An XML that some libvirt keeps in a file; None where it cannot be read, and then nothing in its home is known.

    Each user's daemon has a ``home``: in his own one, what is defined; in that of the running system, what runs.
    """

    file: str
    home: str
    text: Optional[bytes]

    def root(self) -> Any:
        """Return its root element, None where it cannot be read."""
        try:
            return etree.fromstring(self.text) if self.text else None
        except etree.XMLSyntaxError:
            return None


def saved_texts(system: bool) -> Iterator[SavedText]:
    """Yield what users' daemons have saved of VMs, snapshots, checkpoints and saved memory; the system's for a session."""
    for home in sorted(_homes()):
        for file in _below(os.path.join(home, _CONFIG, "qemu")):
            if file is None:
                yield SavedText(home, home, None)
            elif file.endswith((".xml", ".save")):
                yield _read(file, home)
    yield from _running(_RUNNING)
    for file in () if system else sorted(glob.glob(os.path.join(SYSTEM, "*.xml"))):
        yield _read(file, SYSTEM)


class SessionPools:
    """The storage pools of users' daemons, each of its own: two users may call theirs the same, or as the system calls one."""

    def __init__(self) -> None:
        self._targets: dict[tuple[str, str], Optional[str]] = {}
        for saved in _pool_texts():
            root = saved.root()
            pool = None if root is None else next(root.iter("pool"), None)  # of one that runs, it lies within its state
            if pool is not None:
                self._targets[saved.home, str(pool.findtext("name"))] = target(pool)

    def directories(self) -> set[str]:
        """Return where their volumes lie."""
        return set(filter(None, self._targets.values()))

    def path(self, home: str, pool: str, volume: str) -> Optional[str]:
        """Return where a volume lies that the daemon with this home names.

        "" where it is no file, None where the daemon has no such pool.
        """
        for one in (home, *_others_of(home)):
            if (one, pool) in self._targets:
                directory = self._targets[one, pool]
                return os.path.join(directory, volume) if directory else ""
        return None


def _pool_texts() -> Iterator[SavedText]:
    for home in sorted(_homes()):
        for file in glob.glob(os.path.join(glob.escape(home), _CONFIG, "storage", "*.xml")):
            yield _read(file, home)
    yield from _running(_RUNNING_POOLS)
    for file in glob.glob(_SYSTEM_POOLS):
        yield _read(file, SYSTEM)


def _running(pattern: str) -> Iterator[SavedText]:
    for file in sorted(glob.glob(os.path.join(_RUNTIME, pattern))):
        user = os.path.relpath(file, _RUNTIME).split(os.sep, maxsplit=1)[0]
        yield _read(file, os.path.join(_RUNTIME, user))


def _others_of(home: str) -> Iterator[str]:
    """Yield the other homes of a user's daemon: what runs is known by his number, what is defined by the owner of his home."""
    number = os.path.basename(home) if os.path.dirname(home) == _RUNTIME else ""
    with suppress(OSError):
        yield from (
            [one for one in sorted(_homes()) if os.path.isdir(one) and str(os.stat(one).st_uid) == number]
            if number
            else [os.path.join(_RUNTIME, str(os.stat(home).st_uid))]
        )


def _homes() -> set[str]:
    # Not through the name service: a directory server that does not answer must not hold up anything.
    homes = {"/root", *(entry.path for entry in _entries("/home"))}
    try:
        with open("/etc/passwd", encoding="utf-8", errors="surrogateescape") as file:
            homes.update(line.split(":")[5] for line in file if line.count(":") >= 6)
    except OSError:
        pass
    return {os.path.realpath(home) for home in homes if home.startswith("/") and home != "/"}


def _entries(directory: str) -> list[os.DirEntry[str]]:
    try:
        return list(os.scandir(directory))
    except OSError:
        return []


def _below(directory: str) -> Iterator[Optional[str]]:
    """Yield the files below a directory; None where a part of it cannot be read."""
    denied: list[OSError] = []
    for path, _directories, files in os.walk(directory, onerror=denied.append):
        yield from (os.path.join(path, name) for name in files)
    if any(not isinstance(error, FileNotFoundError) for error in denied):
        yield None


def _read(file: str, home: str) -> SavedText:
    try:
        with open(file, "rb") as stream:
            text = stream.read(SAVED_HEAD)
    except FileNotFoundError:
        return SavedText(file, home, b"")
    except OSError:
        return SavedText(file, home, None)
    return SavedText(file, home, saved_xml(text) if file.endswith(".save") else text)


def saved_xml(head: bytes) -> bytes:
    """Return the XML of the VM at the beginning of its saved memory, b"" where there is none."""
    start, end = head.find(b"<domain"), head.find(b"</domain>")
    return head[start : end + len(b"</domain>")] if 0 <= start < end else b""
