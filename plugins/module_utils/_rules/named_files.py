# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files a VM's XML names, wherever it names them: disks, firmware, kernels, drives in QEMU's own arguments.

Every absolute path counts, in whatever element: a name too much only means that a file is left alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_IMAGES = ("disk", "lun")
# In an argument of QEMU's a path stands behind `=`, `,`, `:` or a quote; a comma that is part of it is doubled.
_COMMA = "\x00"
_PIECES = re.compile(r"""[=,"':]""")


@dataclass(frozen=True)
class NamedFile:
    """A file that some XML names; ``writes`` where it is a disk that the VM may write to."""

    path: str
    writes: bool = False


@dataclass(frozen=True)
class NamedVolume:
    """A volume of a storage pool that some XML names; its path is known to libvirt only."""

    pool: str
    volume: str
    writes: bool = False


def named_files(root: Any, without_disks: bool = False) -> Iterator[NamedFile]:
    """Yield every file that an element names, at whatever depth; ``without_disks`` leaves out the VM's own images."""
    written = {id(source) for source, writes in _disk_sources(root) if writes}
    passed = set(_inside_disks(root)) if without_disks else set()
    for element in root.iter("*"):
        if id(element) in passed:
            continue
        writes = id(element) in written
        for text in (*element.attrib.values(), element.text or ""):
            for path in _paths(text):
                yield NamedFile(path, writes)


def named_volumes(root: Any) -> Iterator[NamedVolume]:
    """Yield every volume that an element names."""
    written = {id(source) for source, writes in _disk_sources(root) if writes}
    for source in root.iter("source"):
        pool, volume = source.get("pool"), source.get("volume")
        if pool and volume:
            yield NamedVolume(pool, volume, id(source) in written)


def _disk_sources(root: Any) -> Iterator[tuple[Any, bool]]:
    for disk in root.iter("disk"):
        image = disk.get("device", "disk") in _IMAGES and disk.find("target") is not None
        source = disk.find("source")
        if source is not None:
            yield source, image and disk.find("readonly") is None


def _inside_disks(root: Any) -> Iterator[int]:
    for disk in root.iter("disk"):
        if disk.get("device", "disk") in _IMAGES:
            yield from map(id, disk.iter("*"))


def _paths(text: str) -> Iterator[str]:
    text = text.strip()
    if text.startswith("/"):
        yield text
    elif "/" in text:
        for piece in _PIECES.split(text.replace(",,", _COMMA)):
            if piece.startswith("/"):
                yield piece.replace(_COMMA, ",")
