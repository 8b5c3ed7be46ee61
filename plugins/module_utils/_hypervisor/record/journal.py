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

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.firmware_notes import (
    FirmwareCopying,
    FirmwareReturn,
    by_part,
    noted,
)


@dataclass(frozen=True)
class _Begun:
    """What every journal has. ``created_at`` is that of a snapshot that was there before."""

    kind: ClassVar[str]

    snapshot: str
    created_at: Optional[str] = None
    started_at: str = ""

    @property
    def all(self) -> tuple[tuple[str, Optional[str]], ...]:
        """The name and the time of every snapshot that it is about."""
        return ((self.snapshot, self.created_at),)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of these."""
        return tuple(name for name, _created_at in self.all)

    @property
    def making(self) -> tuple[str, ...]:
        """Files that are being made: nothing names them yet."""
        return ()


@dataclass(frozen=True)
class TakeJournal(_Begun):
    """A snapshot is being taken. It has one phase: until libvirt lists the snapshot, its ``files`` are of no use.

    Of a member of a group ``group_labels`` are those it shall carry, whoever finishes the taking; ``held`` tells that the VM is
    suspended for it. ``nvram`` and ``tpm`` say what is copied of its firmware, and to which of the files.
    """

    kind: ClassVar[str] = "take"

    files: tuple[str, ...] = ()
    group_labels: dict[str, str] = field(default_factory=dict)
    held: bool = False
    nvram: Optional[FirmwareCopying] = None
    tpm: Optional[FirmwareCopying] = None

    @property
    def making(self) -> tuple[str, ...]:
        """The overlays, the memory file and the copies of what its firmware keeps."""
        return self.files

    @property
    def copying(self) -> dict[str, FirmwareCopying]:
        """What is copied of the firmware, by part."""
        return by_part(nvram=self.nvram, tpm=self.tpm)


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
    and its format before it, and ``was_power`` what the VM was: where it does not start it goes back there. ``nvram`` and
    ``tpm`` say how its UEFI variables and its TPM come back, where they do. ``stopping_at`` is when its stop began, ``left``
    has the time of the last write (ns) to each of those images when it had been stopped.
    """

    kind: ClassVar[str] = "revert"

    overlays: dict[str, str] = field(default_factory=dict)
    power: str = ""
    was: dict[str, tuple[str, str]] = field(default_factory=dict)
    was_power: str = ""
    phase: RevertPhase = RevertPhase.PREPARING
    nvram: Optional[FirmwareReturn] = None
    stopping_at: str = ""
    left: dict[str, int] = field(default_factory=dict)
    tpm: Optional[FirmwareReturn] = None

    @property
    def making(self) -> tuple[str, ...]:
        """The new overlays."""
        return tuple(self.overlays.values())

    @property
    def returning(self) -> dict[str, FirmwareReturn]:
        """What comes back of the firmware, by part."""
        return by_part(nvram=self.nvram, tpm=self.tpm)


@dataclass(frozen=True)
class RemoveJournal(_Begun):
    """A snapshot is being removed; its phases are its steps, each of which shows on the disks.

    ``also`` are the name and the time of those that are removed at once with it. ``memory_files`` go with them. ``merging`` has
    the layer that is merged and the one it goes into, as long as the former is in use: once nothing uses it, it is merged, even
    where nobody was left to see that. ``may_adjust`` is what the task allowed.
    ``was`` has the image that each disk is on, or is about to go over to. ``bandwidth`` (MiB/s, 0 for any) is the task's,
    ``boot_id`` that of the host: of a merge that nobody saw end, what was in the host's memory then is lost with its power.
    """

    kind: ClassVar[str] = "remove"

    memory_files: tuple[str, ...] = ()
    merging: tuple[str, ...] = ()
    may_adjust: bool = False
    was: dict[str, str] = field(default_factory=dict)
    bandwidth: int = 0
    boot_id: str = ""
    also: tuple[tuple[str, Optional[str]], ...] = ()

    @property
    def all(self) -> tuple[tuple[str, Optional[str]], ...]:
        """The name and the time of every snapshot that goes."""
        return ((self.snapshot, self.created_at), *self.also)

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
        "may_adjust": False,
        "group_labels": {},
        "held": False,
        "nvram": None,
        "tpm": None,
        "stopping_at": "",
        "left": {},
        "bandwidth": 0,
        "boot_id": "",
        "also": [],
    }
    if isinstance(journal, TakeJournal):
        group = {"group_labels": journal.group_labels, "held": journal.held}
        copying = {part: noted(one) for part, one in journal.copying.items()}
        return {**values, "files": list(journal.files), **group, **copying}
    if isinstance(journal, RemoveJournal):
        files, merging = list(journal.memory_files), list(journal.merging)
        how = {"may_adjust": journal.may_adjust, "was": journal.was, "bandwidth": journal.bandwidth}
        also = [list(one) for one in journal.also]
        return {**values, "files": files, "merging": merging, **how, "boot_id": journal.boot_id, "also": also}
    return {
        **values,
        "overlays": journal.overlays,
        "power": journal.power,
        "committed": journal.phase is not RevertPhase.PREPARING,
        "was": {target: list(image) for target, image in journal.was.items()},
        "was_power": journal.was_power,
        "settling": journal.phase is RevertPhase.DROPPING,
        "stopping_at": journal.stopping_at,
        "left": journal.left,
        **{part: noted(one) for part, one in journal.returning.items()},
    }


def from_json(values: Mapping[str, Any]) -> Journal:
    """Return what an interrupted run of this or an earlier release wrote. Raises `KeyError`, `TypeError` or `ValueError`."""
    kind, begun = values["kind"], (values["snapshot"], values.get("created_at"), values.get("started_at", ""))
    files = tuple(values.get("files", ()))
    if kind == TakeJournal.kind:
        labels, held = dict(values.get("group_labels", {})), bool(values.get("held"))
        nvram, tpm = (FirmwareCopying.of(values.get(part)) for part in ("nvram", "tpm"))
        return TakeJournal(*begun, files=files, group_labels=labels, held=held, nvram=nvram, tpm=tpm)
    if kind == RemoveJournal.kind:
        merging = tuple(values.get("merging", ()))
        was = {target: str(image) for target, image in values.get("was", {}).items()}
        may_adjust, bandwidth = bool(values.get("may_adjust")), int(values.get("bandwidth", 0))
        also = tuple((name, created_at) for name, created_at in values.get("also", ()))
        known = {"may_adjust": may_adjust, "was": was, "bandwidth": bandwidth, "boot_id": values.get("boot_id", "")}
        return RemoveJournal(*begun, files, merging, **known, also=also)
    if kind != RevertJournal.kind:
        raise ValueError(f"it has an operation {kind!r}, which this release does not know")
    return RevertJournal(
        *begun,
        overlays=dict(values.get("overlays", {})),
        power=values.get("power", ""),
        was={target: (image[0], image[1]) for target, image in values.get("was", {}).items()},
        was_power=values.get("was_power", ""),
        phase=_phase(values),
        nvram=FirmwareReturn.of(values.get("nvram")),
        tpm=FirmwareReturn.of(values.get("tpm")),
        stopping_at=values.get("stopping_at", begun[2]),  # earlier releases did not note it
        left={target: int(time) for target, time in values.get("left", {}).items()},
    )


def _phase(values: Mapping[str, Any]) -> RevertPhase:
    if values.get("settling"):
        return RevertPhase.DROPPING
    return RevertPhase.SWITCHING if values.get("committed") else RevertPhase.PREPARING


def now() -> str:
    """Return the time as records have it."""
    return datetime.now(timezone.utc).replace(microsecond=0).isoformat()
