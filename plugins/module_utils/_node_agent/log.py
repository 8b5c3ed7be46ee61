# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an agent has said since a moment."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.service import Service


@dataclass(frozen=True)
class Log:
    """The words of an agent from now on, in the init's journal and in files."""

    service: Service
    since: float
    files: dict[Path, int]  # and how much was in them

    @classmethod
    def of(cls, service: Service, files: Iterable[str]) -> Log:
        sizes = {file: file.stat().st_size if file.is_file() else 0 for file in map(Path, files)}
        return cls(service, time.time(), sizes)

    def tail(self) -> list[str]:
        """Return the last lines."""
        texts = [self.service.journal(self.since)]
        for file, size in self.files.items():
            with suppress(OSError), file.open("rb") as stream:
                stream.seek(max(size, file.stat().st_size - 8192))
                texts.append(stream.read().decode(errors="replace"))
        return folded(line for line in "\n".join(texts).splitlines() if line.strip())[-15:]


def folded(lines: Iterable[str]) -> list[str]:
    """Return lines with those that repeat told once: an agent may log each of our questions."""
    counted = [(line, len(list(same))) for line, same in itertools.groupby(lines)]
    return [line if times == 1 else f"{line} ({times} times)" for line, times in counted]
