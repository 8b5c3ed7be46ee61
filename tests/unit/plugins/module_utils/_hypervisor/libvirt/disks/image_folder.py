# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A folder of small images, each with a header of its own."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

pytest.importorskip("lxml")

from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.devices import Disk


class Folder:
    """Makes images in a directory; names are relative to it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def file(self, name: str) -> str:
        return str(self.path / name)

    def image(self, name: str, backing: str | bytes = b"", backing_format: bytes = b"qcow2") -> str:
        """Write a qcow2 image of one GiB, an overlay if ``backing`` is given (a name here, or any bytes)."""
        text = self.file(backing).encode() if isinstance(backing, str) else backing
        extension = struct.pack(">II", 0xE2792ACA, len(backing_format)) + backing_format.ljust(8, b"\0")
        end = 104 + (len(extension) if backing_format else 0) + 8
        head = struct.pack(">4sIQIIQ", b"QFI\xfb", 3, end if text else 0, len(text), 16, 1 << 30)
        head = head.ljust(100, b"\0") + struct.pack(">I", 104) + (extension if backing_format else b"") + bytes(8)
        Path(self.file(name)).parent.mkdir(exist_ok=True)
        Path(self.file(name)).write_bytes(head + text)
        return self.file(name)

    def chain(self, *names: str) -> None:
        """Make each image an overlay on the one before it."""
        for below, name in zip(("", *names), names):
            self.image(name, below or b"")

    def disk(self, name: str, backing: tuple[str, ...] | None = None) -> Disk:
        told = None if backing is None else tuple(self.file(one) for one in backing)
        return Disk("vda", "disk", "file", self.file(name), "qcow2", False, False, False, True, told)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)
