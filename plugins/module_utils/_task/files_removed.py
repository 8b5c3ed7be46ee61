# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files that were deleted, held against those that were to go."""

from __future__ import annotations

import os
from collections.abc import Sequence


def in_order(planned: Sequence[str], removed: Sequence[str]) -> tuple[str, ...]:
    """Return the files removed in the order in which they were planned, then all others."""
    return (*(file for file in planned if file in removed), *(file for file in removed if file not in planned))


def otherwise(planned: Sequence[str], removed: Sequence[str]) -> tuple[str, ...]:
    """Return notes that say in what the files removed differ from those planned; none where they do not."""
    # One file may be told by two names.
    were, gone = (set(map(os.path.realpath, files)) for files in (planned, removed))
    stayed = [file for file in planned if os.path.realpath(file) not in gone]
    also = [file for file in removed if os.path.realpath(file) not in were]
    notes = [f"these were to be deleted and are still there: {', '.join(stayed)}"] if stayed else []
    return (*notes, f"these were deleted too: {', '.join(also)}") if also else tuple(notes)
