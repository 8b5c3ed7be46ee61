# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What lies on the host's disk: releases, and the link that makes one of them the current."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.files import (
    copy_atomically,
    link_atomically,
    sha256_of,
)

BINARY = "qx-node"


@dataclass(frozen=True)
class Releases:
    """The folder of releases, and the link that makes one of them the current."""

    base: Path
    path: Path

    def binary(self, sha: str) -> Path:
        return self.base / "releases" / sha / BINARY

    def service_text_file(self, sha: str) -> Path:
        """Return where the service file is kept that this release last ran with."""
        return self.binary(sha).with_name("service")

    def stored(self, sha: str) -> bool:
        return self.binary(sha).is_file() and sha256_of(self.binary(sha)) == sha

    def current(self) -> Optional[str]:
        return sha256_of(self.path) if self.path.is_file() else None

    def is_linked(self, sha: str) -> bool:
        return self.path.is_symlink() and os.readlink(self.path) == str(self.binary(sha))

    def is_ours(self) -> bool:
        """Whether the path is a link to any release."""
        return self.path.is_symlink() and Path(os.readlink(self.path)).is_relative_to(self.base / "releases")

    def previous(self) -> Optional[str]:
        link = self.base / "previous"
        sha = os.path.basename(os.readlink(link)) if link.is_symlink() else ""
        return sha if sha and self.binary(sha).is_file() else None

    def all(self) -> list[str]:
        """Return what is kept, the one used last first."""
        folders = [folder for folder in self.base.glob("releases/*") if (folder / BINARY).is_file()]
        return [folder.name for folder in sorted(folders, key=lambda folder: -folder.stat().st_mtime)]

    def keep_current(self) -> None:
        """Make a release of a file that is at the path without being one, and note that it was there."""
        sha = self.current()
        if sha is None:
            return
        binary = self.binary(sha)
        if not self.is_ours():
            self.base.mkdir(parents=True, exist_ok=True)
            link_atomically(self.original, os.readlink(self.path) if self.path.is_symlink() else str(binary))
        if not self.stored(sha):
            binary.parent.mkdir(parents=True, exist_ok=True)
            copy_atomically(self.path, binary)  # the link is to take the place of the only one there is
        self.note_use(sha)

    @property
    def original_service(self) -> Path:
        """Return the host's own service file in whose place ours went; empty where that was not in the same place."""
        return self.base / "original-service"

    @property
    def original(self) -> Path:
        """Return the note of what was at the path and not ours: the same link, or one to the release that a file became."""
        return self.base / "original"

    def leave(self) -> None:
        """Put what was there before us in the place of our link, or nothing."""
        target = self.to_put_back()
        if target is None:
            self.path.unlink()
        elif Path(target).is_relative_to(self.base):
            copy_atomically(Path(target), self.path)
        else:
            link_atomically(self.path, target)

    def to_put_back(self) -> Optional[str]:
        """Return to what the note of before us leads; None where nothing was, or where somebody has deleted it."""
        target = os.readlink(self.original) if self.original.is_symlink() else None
        return None if target and Path(target).is_relative_to(self.base) and not Path(target).is_file() else target

    def note_use(self, sha: str) -> None:
        """Note that a release has served: it is no longer one that was just brought."""
        folder = self.binary(sha).parent
        times = folder.stat()
        (folder / "served").touch()
        os.utime(folder, ns=(times.st_atime_ns, times.st_mtime_ns))  # by these the one used last is known

    def is_needed(self, sha: str) -> bool:
        """Whether somebody may want it back: it has served, or its place says so."""
        noted = (self.binary(sha).with_name("served"), self.service_text_file(sha))  # of this version, and of any
        return sha in self._spared() or any(note.exists() for note in noted)

    def use(self, sha: str) -> None:
        binary = self.binary(sha)
        with binary.open("rb") as stream:
            os.fsync(stream.fileno())
        os.utime(binary.parent)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        link_atomically(self.path, str(binary))

    def forget(self, sha: str) -> None:
        shutil.rmtree(self.binary(sha).parent, ignore_errors=True)

    def prune(self, keep: int) -> None:
        spared = self._spared()
        for number, sha in enumerate(self.all(), start=1):
            if number > keep and sha not in spared:
                self.forget(sha)

    def _spared(self) -> set[Optional[str]]:
        first = Path(os.readlink(self.original)).parent.name if self.original.is_symlink() else None
        return {self.current(), self.previous(), first}
