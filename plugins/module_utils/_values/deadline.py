# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One time limit that is handed down and shared by all that one VM's work waits for."""

from __future__ import annotations

import errno
import os
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Optional, TypeVar, cast

_T = TypeVar("_T")


class Deadline:
    """A moment on the monotonic clock, ``seconds`` from now."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def remaining(self) -> float:
        """Return the seconds left, never below zero."""
        return max(0.0, self._end - time.monotonic())

    @property
    def passed(self) -> bool:
        """Whether no time is left."""
        return self.remaining() == 0.0


@dataclass(frozen=True)
class Pace:
    """How fast layers may be merged (``bandwidth`` in MiB/s, 0 for no limit), and until when."""

    bandwidth: int
    deadline: Deadline


def within(seconds: float, ask: Callable[[], _T]) -> _T:
    """Return what a function returns; raise `TimeoutError` where it hangs (its thread stays behind)."""
    answers: queue.SimpleQueue[tuple[Optional[_T], Optional[Exception]]] = queue.SimpleQueue()

    def run() -> None:
        try:
            answers.put((ask(), None))
        except Exception as error:  # noqa: BLE001 - raised again below, in the thread that asks
            answers.put((None, error))

    threading.Thread(target=run, daemon=True).start()
    try:
        answer, error = answers.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)) from None
    if error:
        raise error
    return cast("_T", answer)
