# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One VM of libvirt with all that changing its snapshots needs: its record, its layers, its definition."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Callable, Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.libvirt_errors import (
    translated,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.pool_volumes import (
    read_domain,
    unresolved,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.current_snapshot import (
    true_current,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.layer_forest import Forest
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.read_layers import survey
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.file_deletion import delete
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.host_overlays import HostFiles
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.users.surroundings import (
    Surroundings,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.definition_chains import (
    without_layers,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.saved_snapshot import (
    Saved,
    point_to,
    read_saved,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.snapshot_rewrite import (
    agree,
    current_name,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.journal import RemoveJournal
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.vm_record import Record, Records
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.devices import Disk, disks, image_disks
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.image_changes import before_merge
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.layer_steps import Merge
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.refusals import removed_meanwhile
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import VmId

_INACTIVE, _SECURE = 2, 1  # virDomainXMLFlags
_HAS_PROCESS = {1: True, 2: True, 3: True, 4: True, 5: False, 7: True}  # by virDomainState; a crashed VM may have one

Seen = dict[str, Any]  # answers of libvirt, by what was asked


class VmHandle:
    """One VM. Every method raises `KvmError`; ``native`` is libvirt's own domain."""

    def __init__(
        self,
        connection: Any,
        native: Any,
        vm_id: VmId,
        *,
        version: int,
        records: Records,
        host_files: HostFiles,
        may_adjust: bool = False,
    ) -> None:
        self.connection = connection
        self.native = native
        self.id = vm_id
        self.name = vm_id.name
        self.version = version
        self.records = records
        self.host_files = host_files
        self.may_adjust = may_adjust  # whether its own denials may be taken out of its AppArmor profile for a merge
        self.removed: list[str] = []  # what was deleted so far
        self.merged = False  # whether a layer was merged, and the VM is on another image for that
        self._seen: Optional[Seen] = None

    @contextmanager
    def seen_once(self, seen: Optional[Seen] = None) -> Iterator[Seen]:
        """Ask libvirt each question once for the block, which changes nothing: all is decided by one reading.

        ``seen`` is what was asked for the same decision already, under the same lock; it is added to.
        """
        self._seen = {} if seen is None else seen
        try:
            yield self._seen
        finally:
            self._seen = None

    def _once(self, what: str, doing: str, read: Callable[[], Any]) -> Any:
        seen = {} if self._seen is None else self._seen
        if what not in seen:
            with translated(self.name, doing):
                seen[what] = read()
        return seen[what]

    def active(self) -> bool:
        """Whether the VM has a QEMU process."""
        return bool(self._once("active", "asking whether it runs", self.native.isActive))

    def learn_power(self, state: int) -> None:
        """Take from the ``state`` that libvirt has just told whether it runs, where nobody has asked yet for this reading."""
        if self._seen is not None and state in _HAS_PROCESS:
            self._seen.setdefault("active", _HAS_PROCESS[state])

    def xml(self) -> Any:
        """Return the VM as it runs, or as it is defined where it does not."""
        if not self.active():
            return self.definition()
        return self._once("xml", "reading the VM", lambda: read_domain(self.native))

    def definition(self) -> Any:
        """Return the VM as its next start will have it."""
        flags = _INACTIVE | _SECURE
        return self._once("definition", "reading its definition", lambda: read_domain(self.native, flags))

    def disk(self, target: str) -> Disk:
        """Return a disk as the VM has it now."""
        return next(disk for disk in disks(self.xml()) if disk.target == target)

    def tops(self) -> list[tuple[str, str]]:
        """Return target and image of each disk, as it runs and as it is defined."""
        found = (*image_disks(self.xml()), *image_disks(self.definition()))
        return list(dict.fromkeys((disk.target, str(disk.source)) for disk in found if not disk.readonly))

    def saved(self) -> list[Saved]:
        """Return all its snapshots as libvirt keeps them."""
        found: list[Saved] = self._once("saved", "reading its snapshots", lambda: read_saved(self.native))
        return found

    def called_current(self) -> Optional[str]:
        """Return the name of the snapshot that libvirt calls current."""
        found: Optional[str] = self._once("current", "reading its snapshots", lambda: current_name(self.native))
        return found

    def snapshot(self, name: str) -> Saved:
        """Return the snapshot of that name. Raises ``busy`` where somebody has just removed it."""
        found = next((one for one in self.saved() if one.name == name), None)
        if found is None:
            raise removed_meanwhile(self.name, name)
        return found

    def record(self) -> Record:
        """Return what this collection notes of it."""
        found: Record = self._once("record", "reading its record", lambda: self.records.read(self.id))
        return found

    def write(self, record: Record, durable: bool = False) -> None:
        """Replace what this collection notes of it."""
        self.records.write(self.id, record, durable)
        if self._seen is not None:
            self._seen["record"] = record

    def keep_record(self) -> bytes | None:
        """Return its record's very bytes, for `put_back_record`."""
        return self.records.keep(self.id)

    def put_back_record(self, kept: bytes | None) -> None:
        """Make its record what it was before something that was refused."""
        self.records.put_back(self.id, kept)

    def note_merging(self, step: Merge, used: bool, base: str) -> None:
        """Note to which images a merge is about to write and, where the upper one is ``used``, that it goes into ``base``."""
        record = self.record()
        if isinstance(record.journal, RemoveJournal):
            journal = replace(record.journal, merging=(step.top, base) if used else ())
            images = before_merge(record.images, step.gone, step.base, step.above)
            self.write(replace(record, journal=journal, images=images), durable=True)

    def note_percent(self, percent: int | None) -> None:
        """Tell others how far a merge has got."""
        self.records.note_percent(self.id, percent)

    def around(self) -> Surroundings:
        """Return what is there beside it on its host."""
        with translated("the host", "reading which files its VMs use"):
            return Surroundings(self.host_files, self.host_files.users(self.connection), self.id.uuid)

    def survey(
        self, without: Collection[str] = (), record: Record | None = None, going: Collection[str] = ()
    ) -> Forest:
        """Read all its layers off the disks, as if there were no snapshots ``without`` and no overlays that are ``going``."""
        domains, record = [self.xml(), self.definition()], record or self.record()
        left = {"without": without, "going": going}
        return survey(self.name, domains, self.saved(), record, around=self.around(), running=self.active(), **left)

    def define(self, images: Mapping[str, tuple[str, str]], *merged: str) -> None:
        """Put disks (by target) on other images (path and format) in its definition, and take ``merged`` layers out of it."""
        root = self.definition()
        for disk in root.iterfind("devices/disk"):
            if image := images.get(disk.find("target").get("dev")):
                point_to(disk, *image)
        if merged:
            without_layers(root, *merged)
        with translated(self.name, "defining it on its new images"):
            self.connection.defineXML(unresolved(root))

    def forget_layers(self, *merged: str) -> None:
        """Take layers that were merged, or are gone, out of the chains that its definition tells: it would not start.

        Libvirt (9.0 and later) writes chains into the definition when a snapshot is taken of a running VM, and believes them.
        """
        root = self.definition()
        if without_layers(root, *merged):
            with translated(self.name, "taking a merged layer out of its definition"):
                self.connection.defineXML(unresolved(root))

    def agree(self, forest: Forest, moved: Mapping[str, tuple[str, str]]) -> None:
        """Make libvirt's notes on its snapshots agree with its layers; what they name no more is noted as ours still."""
        found = self.saved()

        def unnamed(overlay: str) -> None:
            record = self.record()
            if overlay in forest.layers.ours.difference(record.overlays):
                self.write(replace(record, overlays=(*record.overlays, overlay)), durable=True)

        with translated(self.name, "rewriting libvirt's metadata of its snapshots"):
            called = self.called_current() if found else None
            current = true_current(found, forest, called)
            disk = forest.on_disk(moved)
            changed = agree(self.native, self.version, found, (current, called), disk=disk, unnamed=unnamed)
        if changed and self._seen is not None:
            for read_before in ("saved", "current"):
                self._seen.pop(read_before, None)

    @contextmanager
    def telling_removed(self) -> Iterator[None]:
        """Add to an error of the block which files were removed before it."""
        try:
            yield
        except KvmError as error:
            error.files_removed, error.changed = tuple(self.removed), self.merged
            raise

    def never_was(self, files: Iterable[str]) -> None:
        """Take files that this very run had made off those that it removed."""
        made = set(files)
        self.removed = [file for file in self.removed if file not in made]

    def unlink(self, files: Iterable[str]) -> None:
        """Delete files that nothing needs any more, and tell the pools. Raises ``file_in_use`` or ``file_not_removed``."""
        if going := list(files):
            delete(self.name, self.connection, self.around(), going, self.removed)
