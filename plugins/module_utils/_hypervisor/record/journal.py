# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run writes down on the host before its first step, so that the next one can finish or undo it.

On disk every journal has the same keys, also those that are of no use to its kind: earlier releases wrote and read them so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from enum import Enum
from typing import Any, ClassVar, Optional, Union


@dataclass(frozen=True)
class _Begun:
    """What every journal has. ``created_at`` is that of a snapshot that was there before."""

    kind: ClassVar[str]

    snapshot: str
    created_at: Optional[str] = None
    started_at: str = ""

    @property
    def making(self) -> tuple[str, ...]:
        """Files that are being made: nothing names them yet."""
        return ()


@dataclass(frozen=True)
class TakeJournal(_Begun):
    """A snapshot is being taken. It has one phase: until libvirt lists the snapshot, its ``files`` are of no use."""

    kind: ClassVar[str] = "take"

    files: tuple[str, ...] = ()

    @property
    def making(self) -> tuple[str, ...]:
        """The overlays, and the memory file."""
        return self.files


class RevertPhase(Enum):
    """How far a revert has got, and so what becomes of one that was interrupted."""

    PREPARING = "preparing"  # overlays are being made: it is undone
    SWITCHING = (
        "switching"  # the VM is stopped, defined and started: it is finished or, where it does not start, goes back
    )
    DROPPING = "dropping"  # what was written since is being dropped: it is finished, there is no way back


@dataclass(frozen=True)
class RevertJournal(_Begun):
    """A VM is going back to a snapshot.

    ``overlays`` has the new overlay of each target, ``power`` what the VM shall be in the end. ``was`` has each target's image
    and its format before it, and ``was_power`` what the VM was: where it does not start it goes back there.
    """

    kind: ClassVar[str] = "revert"

    overlays: dict[str, str] = field(default_factory=dict)
    power: str = ""
    was: dict[str, tuple[str, str]] = field(default_factory=dict)
    was_power: str = ""
    phase: RevertPhase = RevertPhase.PREPARING

    @property
    def making(self) -> tuple[str, ...]:
        """The new overlays."""
        return tuple(self.overlays.values())


@dataclass(frozen=True)
class RemoveJournal(_Begun):
    """A snapshot is being removed; its phases are its steps, each of which shows on the disks.

    ``memory_files`` go with it. ``merging`` has the layer that is merged and the one under it, as long as the former is in use:
    once nothing uses it, it is merged, even where nobody was left to see that.
    """

    kind: ClassVar[str] = "remove"

    memory_files: tuple[str, ...] = ()
    merging: tuple[str, ...] = ()

    @property
    def making(self) -> tuple[str, ...]:
        """The memory files: their snapshot is forgotten before they are deleted."""
        return self.memory_files


Journal = Union[TakeJournal, RevertJournal, RemoveJournal]


def to_json(journal: Journal) -> dict[str, Any]:
    """Return what stands in the record's file."""
    values: dict[str, Any] = {
        "kind": journal.kind,
        "snapshot": journal.snapshot,
        "created_at": journal.created_at,
        "started_at": journal.started_at,
        "files": [],
        "overlays": {},
        "power": "",
        "committed": False,
        "merging": [],
        "was": {},
        "was_power": "",
        "settling": False,
    }
    if isinstance(journal, TakeJournal):
        return {**values, "files": list(journal.files)}
    if isinstance(journal, RemoveJournal):
        return {**values, "files": list(journal.memory_files), "merging": list(journal.merging)}
    return {
        **values,
        "overlays": journal.overlays,
        "power": journal.power,
        "committed": journal.phase is not RevertPhase.PREPARING,
        "was": {target: list(image) for target, image in journal.was.items()},
        "was_power": journal.was_power,
        "settling": journal.phase is RevertPhase.DROPPING,
    }


def from_json(values: Mapping[str, Any]) -> Journal:
    """Return what an interrupted run of this or an earlier release wrote. Raises `KeyError`, `TypeError` or `ValueError`."""
    kind, begun = values["kind"], (values["snapshot"], values.get("created_at"), values.get("started_at", ""))
    files = tuple(values.get("files", ()))
    if kind == TakeJournal.kind:
        return TakeJournal(*begun, files=files)
    if kind == RemoveJournal.kind:
        return RemoveJournal(*begun, memory_files=files, merging=tuple(values.get("merging", ())))
    if kind != RevertJournal.kind:
        raise ValueError(f"it has an operation {kind!r}, which this release does not know")
    return RevertJournal(
        *begun,
        overlays=dict(values.get("overlays", {})),
        power=values.get("power", ""),
        was={target: (image[0], image[1]) for target, image in values.get("was", {}).items()},
        was_power=values.get("was_power", ""),
        phase=_phase(values),
    )


def _phase(values: Mapping[str, Any]) -> RevertPhase:
    if values.get("settling"):
        return RevertPhase.DROPPING
    return RevertPhase.SWITCHING if values.get("committed") else RevertPhase.PREPARING


def now() -> str:
    """Return the time as records have it."""
    return datetime.now(timezone.utc).replace(microsecond=0).isoformat()
