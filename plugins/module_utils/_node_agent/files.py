# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that are whole or not there."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path


def sha256_of(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def write_atomically(file: Path, text: str, mode: int) -> None:
    """Whole or not at all, also after a power cut."""
    new = file.with_name(f".{file.name}.new")
    with new.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    new.chmod(mode)
    new.replace(file)


def copy_atomically(source: Path, file: Path) -> None:
    """Copy a file with its rights and times: whole or not at all, also after a power cut."""
    new = file.with_name(f".{file.name}.new")
    shutil.copy2(source, new)
    _sync(new)
    new.replace(file)
    _sync(file.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def link_atomically(link: Path, target: str) -> None:
    new = link.with_name(f".{link.name}.new")
    new.unlink(missing_ok=True)
    new.symlink_to(target)
    new.replace(link)


def standing(path: Path) -> Path:
    """Return the path itself, or the nearest folder above it that exists."""
    return path if path.exists() else standing(path.parent)
