# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The clock of a guest whose memory was loaded: it goes on from the moment at which that was saved."""

from __future__ import annotations

from typing import Optional


def clock_note(vm: str, since: Optional[str], why: str) -> str:
    """Tell that a guest's clock is behind, since when, and why it was not set."""
    moment = f" from {since}," if since else " from the moment"
    return (
        f"the clock of {vm} goes on{moment} when the snapshot was taken, and is not set because {why}: once it runs, set it "
        "inside the guest (chronyc makestep, or date --set)"
    )


def clock_foreseen(vm: str, since: Optional[str], power: str, has_agent: bool) -> tuple[str, ...]:
    """Return what a plan can tell of the clock of a VM that will go on from memory, and be ``running`` or ``paused``."""
    why = "it is paused" if power == "paused" else "" if has_agent else "it has no guest agent"
    return (clock_note(vm, since, why),) if why else ()
