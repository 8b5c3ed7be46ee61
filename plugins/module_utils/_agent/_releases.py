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

from ansible_collections.limiquantix.kvm.plugins.module_utils._agent._files import link_atomically, sha256_of

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

    def previous(self) -> Optional[str]:
        link = self.base / "previous"
        sha = os.path.basename(os.readlink(link)) if link.is_symlink() else ""
        return sha if sha and self.binary(sha).is_file() else None

    def all(self) -> list[str]:
        """Return what is kept, the one used last first."""
        folders = [folder for folder in self.base.glob("releases/*") if (folder / BINARY).is_file()]
        return [folder.name for folder in sorted(folders, key=lambda folder: -folder.stat().st_mtime)]

    def keep_current(self) -> None:
        """Make a release of a file that is at the path without being one."""
        sha = self.current()
        if sha is None or self.stored(sha):
            return
        binary = self.binary(sha)
        binary.parent.mkdir(parents=True, exist_ok=True)
        new = binary.with_name(f".{BINARY}.new")
        shutil.copy2(self.path, new)
        new.replace(binary)

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
        spared = {self.current(), self.previous()}
        for number, sha in enumerate(self.all(), start=1):
            if number > keep and sha not in spared:
                self.forget(sha)
