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
_QEMU_ARGUMENT = "}arg"  # <qemu:arg>
_COMMA = "\x00"
_PIECES = re.compile(r"""[=,"':]""")


@dataclass(frozen=True)
class NamedFile:
    """A file that some XML names: ``image`` in one of a VM's own disks, ``writes`` as the one that disk writes to.

    ``drive`` tells that it stands in QEMU's own arguments, where it may be an image too.
    """

    path: str
    image: bool = False
    writes: bool = False
    drive: bool = False


@dataclass(frozen=True)
class NamedVolume:
    """A volume of a storage pool that some XML names; its path is known to libvirt only."""

    pool: str
    volume: str
    writes: bool = False


def named_files(root: Any) -> Iterator[NamedFile]:
    """Yield every file that an element names, at whatever depth."""
    for element in root.iter("*"):  # no comments
        texts = (*element.values(), element.text)
        paths = [path for text in texts if text and "/" in text for path in _paths(text.strip())]
        if paths:
            how = _of_disk(element), _writes(element), str(element.tag).endswith(_QEMU_ARGUMENT)
            yield from (NamedFile(path, *how) for path in paths)


def named_volumes(root: Any) -> Iterator[NamedVolume]:
    """Yield every volume that an element names."""
    for element in root.iter("*"):
        pool, volume = element.get("pool"), element.get("volume")
        if pool and volume:
            yield NamedVolume(pool, volume, _writes(element))


def _of_disk(element: Any) -> bool:
    """Whether an element is one of a VM's own disks, or in one."""
    return _is_disk(element) or any(map(_is_disk, element.iterancestors("disk")))


def _is_disk(element: Any) -> bool:
    return bool(element.tag == "disk") and element.get("device", "disk") in _IMAGES


def _writes(element: Any) -> bool:
    """Whether an element is what one of a VM's disks writes to."""
    disk = element.getparent() if element.tag == "source" else None
    if disk is None or not _is_disk(disk):
        return False
    # A transient disk writes to an overlay of libvirt's, which goes when the VM stops.
    return disk.find("target") is not None and disk.find("readonly") is None and disk.find("transient") is None


def _paths(text: str) -> Iterator[str]:
    if text.startswith("/"):
        yield text
        return
    for piece in _PIECES.split(text.replace(",,", _COMMA)):
        if piece.startswith("/"):
            yield piece.replace(_COMMA, ",")
