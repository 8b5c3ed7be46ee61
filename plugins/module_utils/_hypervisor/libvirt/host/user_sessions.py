# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""VMs of users' own libvirt daemons (qemu:///session): these are not started for this, what they have saved are files."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Optional

_CONFIG = ".config/libvirt"
_RUNNING = "/run/user/*/libvirt/qemu/run/*.xml"
_SYSTEM = "/etc/libvirt/qemu/*.xml"
# A saved VM's memory begins with a header and then its XML (libvirt's virQEMUSaveHeader).
_SAVED_HEAD = 1 << 20


@dataclass(frozen=True)
class SavedText:
    """An XML that some libvirt keeps in a file; None where it cannot be read, and then nothing in its home is known."""

    file: str
    home: str
    text: Optional[bytes]


def saved_texts(system: bool) -> Iterator[SavedText]:
    """Yield what users' daemons have saved of VMs, snapshots, checkpoints and saved memory; the system's for a session."""
    for home in sorted(_homes()):
        for file in _below(os.path.join(home, _CONFIG, "qemu")):
            if file is None:
                yield SavedText(home, home, None)
            elif file.endswith((".xml", ".save")):
                yield _read(file, home)
    for file in sorted(glob.glob(_RUNNING)):
        yield _read(file, os.path.dirname(file))
    for file in () if system else sorted(glob.glob(_SYSTEM)):
        yield _read(file, os.path.dirname(file))


def pool_texts() -> Iterator[bytes]:
    """Yield the storage pools that users' daemons have defined."""
    for home in sorted(_homes()):
        for file in glob.glob(os.path.join(glob.escape(home), _CONFIG, "storage", "*.xml")):
            found = _read(file, home).text
            if found:
                yield found


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
            text = stream.read(_SAVED_HEAD)
    except FileNotFoundError:
        return SavedText(file, home, b"")
    except OSError:
        return SavedText(file, home, None)
    if file.endswith(".save"):
        start, end = text.find(b"<domain"), text.find(b"</domain>")
        text = text[start : end + len(b"</domain>")] if 0 <= start < end else b""
    return SavedText(file, home, text)
