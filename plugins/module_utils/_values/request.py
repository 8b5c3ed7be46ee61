# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a task asks for, the same for every VM of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Optional


@dataclass(frozen=True)
class SnapshotRequest:
    """A snapshot as the task asks for it, the same for every VM of the task.

    ``description``, ``protected``, ``labels`` and ``expires`` are None where the task says nothing of them. ``expires`` is as
    the task has it (`_rules/keeping/expiry.py`). ``on_uncovered``: fail or leave_out. ``undoable``: it is refused where it could
    not be removed again while the VM runs.
    """

    name: str
    description: Optional[str] = None
    include_memory: bool = False
    on_memory_blocked: str = "fail"
    quiesce: str = "auto"
    quiesce_timeout: int = 30
    disks: Optional[tuple[str, ...]] = None
    on_uncovered: str = "fail"
    overlay_dir: Optional[str] = None
    protected: Optional[bool] = None
    labels: Optional[Mapping[str, str]] = None
    expires: Optional[str] = None
    undoable: bool = False

    @property
    def disk_only(self) -> bool:
        """The rule this collection exists for."""
        return not self.include_memory

    @property
    def leaves_out(self) -> bool:
        """Whether a disk that no snapshot can hold is left out of this one."""
        return self.on_uncovered == "leave_out"


@dataclass(frozen=True)
class RevertRequest:
    """A revert as the task asks for it. ``power``: restore (as the VM was before it), running, paused or shutoff.

    ``accept_changed``: also to what others have written to since.
    """

    name: str
    power: str = "restore"
    keep_current: bool = False
    quiesce: str = "auto"
    quiesce_timeout: int = 30
    accept_changed: bool = False

    @property
    def kept_as(self) -> str:
        """The name of the snapshot that keeps the present, where that is asked for."""
        return f"before-{self.name}"
