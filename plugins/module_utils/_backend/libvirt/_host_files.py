# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Image files of a host beyond one VM: which overlay sits on which file, and which files its domains name.

Each directory and the domains are read once in a run of a module, for all its threads, and only where it is needed.
"""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Iterable, Iterator
from typing import Any

from ansible_collections.limiquantix.kvm.plugins.module_utils._backend.libvirt._domain_xml import parse
from ansible_collections.limiquantix.kvm.plugins.module_utils._backend.libvirt._images import read_image
from ansible_collections.limiquantix.kvm.plugins.module_utils._backend.libvirt._library import libvirt

# What reading an image raises: a file that cannot be read, or a header that may hold anything.
UNREADABLE = (OSError, ValueError, AttributeError, struct.error)


class HostFiles:
    """What one run has read so far. Paths in and out are real paths, so that two names of a file are one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._scanned: set[str] = set()
        self._overlays: dict[str, list[str]] = {}  # by the file they are backed by
        self._named: frozenset[str] = frozenset()

    def strangers(
        self, files: Iterable[str], known: set[str], directories: Iterable[str], connection: Any
    ) -> list[str]:
        """Return overlays in the directories that lead into ``files`` and that no domain and no snapshot names.

        ``known`` are the VM's own: while there are no others, the other domains are not even asked.
        """
        with self._lock:
            self._scan(directories)
            first = [overlay for file in sorted(files) for overlay in self._above(file) if overlay not in known]
            if first and not self._named:
                self._named = frozenset(_named_files(connection))
                # A domain may sit on an overlay here with its own image elsewhere.
                self._scan({os.path.dirname(file) for file in self._named})
            return sorted(set(self._unnamed(first, known)))

    def _unnamed(self, overlays: Iterable[str], known: set[str]) -> Iterator[str]:
        # What is above another domain's file is that domain's trouble, so the walk ends at every named file.
        waiting, seen = list(overlays), set(known)
        while waiting:
            overlay = waiting.pop()
            if overlay in seen or overlay in self._named:
                continue
            seen.add(overlay)
            waiting.extend(self._above(overlay))
            if not self._carries_named(overlay):
                yield overlay

    def _carries_named(self, overlay: str) -> bool:
        """Whether it is a layer below something that is named."""
        waiting, seen = [overlay], set()
        while waiting:
            file = waiting.pop()
            if file in self._named:
                return True
            if file not in seen:
                seen.add(file)
                waiting.extend(self._above(file))
        return False

    def _above(self, file: str) -> list[str]:
        return self._overlays.get(file, [])

    def _scan(self, directories: Iterable[str]) -> None:
        for directory in sorted({os.path.realpath(directory) for directory in directories} - self._scanned):
            self._scanned.add(directory)
            for overlay, backing in _overlays_in(directory):
                self._overlays.setdefault(os.path.realpath(backing), []).append(overlay)


def _overlays_in(directory: str) -> Iterator[tuple[str, str]]:
    """Yield the overlays in a directory and what they say they are backed by, going by their headers only.

    No file that a header names is opened: a raw disk's first bytes are its guest's, which may write there what it likes.
    """
    try:
        entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
    except OSError:
        return  # the VM's own files in it are reported as unreadable where they are looked for
    for entry in entries:
        try:
            if not entry.is_file(follow_symlinks=False):
                continue
            backing = read_image(entry.path, "qcow2").backing_file
        except UNREADABLE:
            continue
        if backing is not None:
            yield entry.path, backing


def _named_files(connection: Any) -> Iterator[str]:
    """Yield every file that a domain of the host, as it runs or as it is defined, or one of its snapshots names."""
    for native in connection.listAllDomains(0):
        try:
            texts = [native.XMLDesc(0), native.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)]
            texts += [snapshot.getXMLDesc(0) for snapshot in native.listAllSnapshots(0)]
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                continue  # it has just been removed
            raise
        for text in texts:
            yield from files_in(parse(text))


def files_in(root: Any) -> Iterator[str]:
    """Yield the real path of every image and memory file that an element names, at whatever depth."""
    for element in root.iter("source", "memory"):
        path = element.get("file") or element.get("dev")
        if path:
            yield os.path.realpath(path)
