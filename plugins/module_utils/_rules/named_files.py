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
    for element, writes in _elements(root, False, without_disks):
        for text in (*element.attrib.values(), element.text or ""):
            for path in _paths(text):
                yield NamedFile(path, writes)


def named_volumes(root: Any) -> Iterator[NamedVolume]:
    """Yield every volume that an element names."""
    for element, writes in _elements(root, False, False):
        pool, volume = element.get("pool"), element.get("volume")
        if pool and volume:
            yield NamedVolume(pool, volume, writes)


def _elements(element: Any, writes: bool, without_disks: bool) -> Iterator[tuple[Any, bool]]:
    """Yield an element and all below it, each with whether it is what a VM writes to; comments are none."""
    image = element.tag == "disk" and element.get("device", "disk") in _IMAGES
    if not isinstance(element.tag, str) or (image and without_disks):
        return
    yield element, writes
    written = image and element.find("target") is not None and element.find("readonly") is None
    for child in element:
        yield from _elements(child, written and child.tag == "source", without_disks)


def _paths(text: str) -> Iterator[str]:
    text = text.strip()
    if text.startswith("/"):
        yield text
    elif "/" in text:
        for piece in _PIECES.split(text.replace(",,", _COMMA)):
            if piece.startswith("/"):
                yield piece.replace(_COMMA, ",")
