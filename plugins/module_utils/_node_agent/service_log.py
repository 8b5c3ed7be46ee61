# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an agent has said since a moment."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.service import Service

_MOST_LINES, _MOST_ERRORS = 15, 5
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_ERROR = re.compile(r"error|fatal|panicked|failed", re.IGNORECASE)


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
        """Return the last lines, and errors of before them, as plain text."""
        texts = [self.service.journal(self.since)]
        for file, size in self.files.items():
            with suppress(OSError), file.open("rb") as stream:
                stream.seek(max(size, file.stat().st_size - 8192))
                texts.append(stream.read().decode(errors="replace"))
        lines = _COLOUR.sub("", "\n".join(texts)).splitlines()
        return telling(folded(line for line in lines if line.strip()))


def folded(lines: Iterable[str]) -> list[str]:
    """Return lines with those that repeat told once: an agent may log each of our questions."""
    counted = [(line, len(list(same))) for line, same in itertools.groupby(lines)]
    return [line if times == 1 else f"{line} ({times} times)" for line, times in counted]


def telling(lines: list[str]) -> list[str]:
    """Return the last lines; of those before them the last errors, since an agent may say a lot while it ends."""
    first = len(lines) - _MOST_LINES
    if first <= 0:
        return lines
    errors = [line for line in range(first + _MOST_ERRORS) if _ERROR.search(lines[line])][-_MOST_ERRORS:]
    first += len(errors)
    return [lines[line] for line in (*(error for error in errors if error < first), *range(first, len(lines)))]
