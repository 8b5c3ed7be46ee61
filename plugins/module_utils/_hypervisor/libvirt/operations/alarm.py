# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Calling something when a step takes longer than it may."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Callable


@contextmanager
def alarm(seconds: float | None, ring: Callable[[threading.Event], None]) -> Iterator[None]:
    """Call ``ring`` in a thread of its own when the block takes longer than ``seconds``; never for None.

    It is given an event that tells when the block has ended.
    """
    if seconds is None:
        yield
        return
    finished = threading.Event()
    timer = threading.Timer(seconds, ring, args=(finished,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        finished.set()
