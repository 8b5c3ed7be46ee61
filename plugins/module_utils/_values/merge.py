# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A merge that goes on after the task that began it: QEMU copies, and the next task on the VM takes it over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError


@dataclass(frozen=True)
class MergeProgress:
    """How far a merge is: bytes ``done`` of the ``whole``, and of these ``lately`` in so many ``seconds``."""

    done: int
    whole: int
    lately: int
    seconds: float

    @property
    def percent(self) -> Optional[int]:
        """How much of it is done; None before QEMU knows how much there is."""
        return 100 * self.done // self.whole if self.whole else None

    @property
    def bytes_per_second(self) -> Optional[int]:
        """How fast it is; None where nothing was copied while somebody looked."""
        return int(self.lately / self.seconds) or None if self.seconds > 0 else None

    @property
    def seconds_left(self) -> Optional[int]:
        """How long it still takes at that pace, if the guest writes nothing."""
        rate = self.bytes_per_second
        return round((self.whole - self.done) / rate) if rate else None

    def __str__(self) -> str:
        percent = "it has just begun" if self.percent is None else f"{self.percent} % are done"
        left = self.seconds_left
        return percent if left is None else f"{percent}, about {as_time(left)} left"

    def to_result(self) -> dict[str, Any]:
        """Return the key ``merge`` of a VM's entry."""
        return {
            "state": "running",
            "percent": self.percent,
            "bytes_per_second": self.bytes_per_second,
            "seconds_left": self.seconds_left,
        }


@dataclass(frozen=True)
class LayerPace:
    """Where the merge of a layer was when it was first seen (a percent, at seconds of any clock), and where it was last."""

    percent: int
    at: float
    last: int

    @classmethod
    def seen(cls, before: Optional[LayerPace], percent: int, now: float) -> LayerPace:
        """Return the pace with what is seen now; a new one where the percent has fallen, as this is the next layer then."""
        if before is None or percent < before.last:
            return cls(percent, now, percent)
        return cls(before.percent, before.at, percent)

    def seconds_left(self, now: float) -> Optional[int]:
        """Return how long the rest of the layer takes at that pace; None where nothing has moved yet."""
        risen, passed = self.last - self.percent, now - self.at
        return round((100 - self.last) * passed / risen) if risen > 0 and passed > 0 else None


def as_time(seconds: int) -> str:
    """Return a time as people read it, in one unit."""
    return f"{seconds} s" if seconds < 120 else f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"


class MergeGoesOnError(KvmError):
    """A merge is not done within the task's time, and goes on without it. Of a removal that is no failure."""

    def __init__(self, message: str, remedy: str, progress: MergeProgress) -> None:
        super().__init__("timeout", message, remedy)
        self.progress = progress
