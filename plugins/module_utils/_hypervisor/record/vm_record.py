# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What this collection keeps of a VM on its host: the operation under way, and what libvirt has no place for.

One JSON file and one lock file a VM, named by UUID so that a rename of the VM loses nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any, Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record import journal as journals
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.firmware_notes import (
    FirmwareCopy,
    by_part,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.first_format import upgraded
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.journal import Journal
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.json_values import fingerprint, known
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.progress_notes import (
    Progress,
    ProgressNotes,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.vm_lock import held, lock
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.image_changes import Fingerprint
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.refusals import record_newer, record_unusable
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.deadline import Deadline
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.version import VERSION
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import Operation, VmId

# A record without a number is of before there were any. It is raised when a release that does not know what is new would
# do harm by losing it: unknown keys are read over, and not written again. What an older one does no harm to keeps its number:
# 3 has the state of a TPM, copied or being put back, or a removal of several snapshots at once, of which it would finish half.
_SCHEMA, _MOSTLY = 3, 2


@dataclass(frozen=True)
class SnapshotRecord:
    """What is noted of a snapshot that this collection took or was told something of. ``quiesced`` None: not known.

    ``serial`` counts those whose images were noted (see `_rules/image_changes.py`); 0: they were not. ``expires`` None: never.
    ``description`` is one that was given later, ``instead_of`` the one that libvirt keeps: where libvirt has another by now,
    somebody has changed that since, and it holds. ``nvram`` is the copy of the UEFI variables. A release that loses these four
    does no harm: what expires stays then, and a revert leaves the variables as they are. ``tpm`` is the copy of a TPM's state.
    """

    quiesced: Optional[bool] = None
    owned: bool = True
    protected: bool = False
    labels: dict[str, str] = field(default_factory=dict)
    serial: int = 0
    expires: Optional[str] = None
    description: Optional[str] = None
    instead_of: str = ""
    nvram: Optional[FirmwareCopy] = None
    tpm: Optional[FirmwareCopy] = None

    @property
    def copies(self) -> dict[str, FirmwareCopy]:
        """The copies that it has of what the firmware keeps, by part."""
        return by_part(nvram=self.nvram, tpm=self.tpm)

    def with_copies(self, copies: Mapping[str, FirmwareCopy]) -> SnapshotRecord:
        return replace(self, nvram=copies.get("nvram"), tpm=copies.get("tpm"))


@dataclass(frozen=True)
class Made:
    """An overlay that was made here: for which disk, its inode and birth, which tell it from a later file of its name, and
    the image that it was made on, by its real path."""

    target: str = ""
    identity: Optional[list[Any]] = None
    base: Optional[str] = None


@dataclass(frozen=True)
class Record:
    """One VM's record.

    ``snapshots`` holds notes by `snapshot_key`. ``overlays`` are files that snapshots or reverts made and that no snapshot
    may name any more, ``former`` the states of removed snapshots (see `_rules/layer_steps.py`), both as real paths. ``made`` has
    every overlay that takes and reverts made, by its real path, as long as there is such a file. ``images`` holds notes of
    what is frozen, by real paths, and ``serial`` the number of the last snapshot whose images were noted. ``active`` has, by
    target, the overlay that a disk was on when this collection last changed the VM.
    """

    snapshots: dict[str, SnapshotRecord] = field(default_factory=dict)
    overlays: tuple[str, ...] = ()
    former: tuple[str, ...] = ()
    journal: Optional[Journal] = None
    made: dict[str, Made] = field(default_factory=dict)
    kept: tuple[str, ...] = ()
    images: dict[str, Fingerprint] = field(default_factory=dict)
    serial: int = 0
    active: dict[str, str] = field(default_factory=dict)

    @property
    def making(self) -> tuple[str, ...]:
        """Files that an operation under way makes: nothing names them yet."""
        return self.journal.making if self.journal else ()


def _from_json(values: dict[str, Any], name: Callable[[str], str]) -> Record:
    def named(key: str) -> tuple[str, ...]:
        return tuple(map(name, values.get(key, ())))

    return Record(
        snapshots={key: _snapshot(note) for key, note in values.get("snapshots", {}).items()},
        overlays=named("overlays"),
        former=named("former"),
        made={
            name(path): Made(**{**known(Made, made), "base": name(made.get("base") or "") or None})
            for path, made in values.get("made", {}).items()
        },
        journal=journals.from_json(values["journal"]) if values.get("journal") else None,
        images={name(file): fingerprint(note, name) for file, note in values.get("images", {}).items()},
        serial=int(values.get("serial", 0)),
        kept=named("kept"),
        active={str(target): name(str(file)) for target, file in values.get("active", {}).items()},
    )


def _snapshot(values: dict[str, Any]) -> SnapshotRecord:
    copies = {part: FirmwareCopy.of(values.get(part)) for part in ("nvram", "tpm")}
    return SnapshotRecord(**{**known(SnapshotRecord, values), **copies})


def _to_json(record: Record) -> dict[str, Any]:
    journal = journals.to_json(record.journal) if record.journal else None
    newer = (journal and (journal["tpm"] or journal["also"])) or any(note.tpm for note in record.snapshots.values())
    return {"schema": _SCHEMA if newer else _MOSTLY, "written_by": VERSION, **vars(record), "journal": journal}


def snapshot_key(name: str, created_at: str | None) -> str:
    """Return what tells a snapshot from a later one of the same name."""
    return f"{name} {created_at}"


class Records:
    """The records of one hypervisor's VMs; ``name`` returns how a noted file is called today: a mount may have come or gone."""

    def __init__(self, directory: str, name: Callable[[str], str] = str) -> None:
        self._directory = directory
        self._name = name
        self._progress = ProgressNotes(lambda vm_id: self._path(vm_id, "percent"))

    def read(self, vm_id: VmId) -> Record:
        """Return a VM's record; an empty one where there is none. Raises ``record_unusable`` or ``record_newer``."""
        try:
            with open(self._path(vm_id, "json"), encoding="utf-8") as file:
                values = json.load(file)
            if values.get("schema", 1) > _SCHEMA:
                raise record_newer(vm_id.name, str(values.get("written_by")), VERSION)
            return _from_json(upgraded(values), self._name)
        except FileNotFoundError:
            return Record()
        except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
            raise record_unusable(error, "" if isinstance(error, OSError) else self._path(vm_id, "json")) from error

    def write(self, vm_id: VmId, record: Record, durable: bool = False) -> None:
        """Replace a VM's record in one step; ``durable`` outlives a power cut too. Raises ``record_unusable``."""
        path = self._path(vm_id, "json")
        try:
            with open(path + ".new", "w", encoding="utf-8") as file:
                # Dump itself is several times slower, and so is `asdict` of all that is noted.
                file.write(json.dumps(_to_json(record), default=vars))
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            os.replace(path + ".new", path)
        except OSError as error:
            raise record_unusable(error) from error

    def of_others(self, vm_id: VmId) -> Iterator[tuple[str, Record]]:
        """Yield the UUID and the record of every other VM that is or was on this host, as far as they can be read."""
        for name in os.listdir(self._directory) if os.path.isdir(self._directory) else ():
            uuid, suffix = os.path.splitext(name)
            if suffix == ".json" and uuid != vm_id.uuid:
                with suppress(KvmError):
                    yield uuid, self.read(VmId("", uuid))

    def keep(self, vm_id: VmId) -> Optional[bytes]:
        """Return a VM's record as it lies there, None where there is none. Raises ``record_unusable``."""
        try:
            with open(self._path(vm_id, "json"), "rb") as file:
                return file.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise record_unusable(error) from error

    def put_back(self, vm_id: VmId, kept: Optional[bytes]) -> None:
        """Make a VM's record what `keep` returned: after a refusal it is as before. Raises ``record_unusable``."""
        path = self._path(vm_id, "json")
        try:
            if kept is None:
                with suppress(FileNotFoundError):
                    os.unlink(path)
                return
            with open(path + ".new", "wb") as file:
                file.write(kept)
            os.replace(path + ".new", path)
        except OSError as error:
            raise record_unusable(error) from error

    def note_percent(self, vm_id: VmId, percent: Optional[int]) -> None:
        """Tell others how far a merge has got, as well as that can be done; None when it has ended."""
        self._progress.note(vm_id, percent)

    def operation(self, vm_id: VmId, record: Record) -> Optional[Operation]:
        """Return what the journal tells of, and whether somebody is at work on it."""
        journal = record.journal
        if journal is None:
            return None
        running = self.held(vm_id)
        progress = self._progress.read(vm_id) if running else Progress()
        how = {**vars(progress), "also": journal.names[1:]}
        return Operation(journal.kind, journal.snapshot, journal.started_at, running, **how)

    def lock(self, vm_id: VmId, deadline: Deadline) -> AbstractContextManager[None]:
        """Hold the VM's lock (see `lock`); what a run that was killed has told of its merge goes. Raises ``locked`` too."""
        try:
            os.makedirs(self._directory, mode=0o700, exist_ok=True)
        except OSError as error:
            raise record_unusable(error) from error
        return self._locked(vm_id, deadline)

    @contextmanager
    def _locked(self, vm_id: VmId, deadline: Deadline) -> Iterator[None]:
        with lock(self._path(vm_id, "lock"), vm_id.name, deadline):
            self.note_percent(vm_id, None)
            yield

    def held(self, vm_id: VmId, by_others: bool = False) -> bool:
        """Whether a run holds the VM's lock at this moment; ``by_others`` whether another one than this does."""
        return held(self._path(vm_id, "lock"), by_others)

    def _path(self, vm_id: VmId, suffix: str) -> str:
        return os.path.join(self._directory, f"{vm_id.uuid}.{suffix}")
