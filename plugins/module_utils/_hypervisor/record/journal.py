# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run writes down on the host before its first step, so that the next one can finish or undo it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Optional


@dataclass(frozen=True)
class Journal:
    """What a run wrote down before its first step, so that the next one can finish or undo it.

    ``files`` are those a take makes, or the memory file that goes with a removed snapshot. Of a revert ``overlays`` has
    the new overlay of each target, ``power`` what the VM shall be in the end; ``committed`` tells that it is past the
    point from which it is finished and no longer undone. ``was`` has each target's image and its format before it, and
    ``was_power`` what the VM was: where it does not start it goes back there. ``settling`` tells that there is no way back
    any more, because the overlays it was on are being dropped. Of a removal ``merging`` has the layer that is merged and the one
    under it, as long as the former is in use: once nothing uses it, it is merged, even where nobody was left to see that.
    """

    kind: str
    snapshot: str
    created_at: Optional[str] = None
    started_at: str = ""
    files: tuple[str, ...] = ()
    overlays: dict[str, str] = field(default_factory=dict)
    power: str = ""
    committed: bool = False
    merging: tuple[str, ...] = ()
    was: dict[str, tuple[str, str]] = field(default_factory=dict)
    was_power: str = ""
    settling: bool = False


def now() -> str:
    """Return the time as records have it."""
    return datetime.now(timezone.utc).replace(microsecond=0).isoformat()
