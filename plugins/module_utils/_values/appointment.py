# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An appointment: when the VMs of a group are held, when all their disks are switched, and when they go on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Appointment:
    """When a group is cut, in seconds since this host's start ``boot_id``.

    From ``begin`` on its members are held, at ``cut`` their disks are switched, at ``release`` they go on. What is still held at
    ``hard_end`` goes on too, whatever dies.
    """

    boot_id: str
    begin: float
    cut: float
    release: float
    hard_end: float


@dataclass(frozen=True)
class Stamps:
    """One member's times on its host's clock. ``held`` is when it stood still, and ``released`` when it still did.

    ``disturbed`` says what let it go on between the two, "" where nothing did.
    """

    began: float
    held: float
    switched_from: float
    switched_to: float
    released: float
    disturbed: str = ""

    def to_result(self) -> dict[str, Any]:
        """Return the times of a member in ``group`` of a module's result."""
        return asdict(self)
