# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A domain of libvirt with all that changing its snapshots needs: its record, its layers, its definition."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any, Callable, Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.connection import translated
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.library import libvirt
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.volumes import (
    read_domain,
    unresolved,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.survey import (
    Forest,
    Surroundings,
    survey,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.host_files import (
    HostFiles,
    is_based_on,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.open_files import (
    is_device,
    still_open,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.rewrite import (
    agree,
    current_name,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.saved import (
    Saved,
    point_to,
    read_saved,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.record import Record, Records
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml import (
    Disk,
    disks,
    image_disks,
    source_path,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.layers import Merge
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.past import before_merge
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.refusals import removed_meanwhile
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import DomainId

_INACTIVE, _SECURE = 2, 1  # virDomainXMLFlags


class DomainHandle:
    """One domain. Every method raises `KvmError`; ``native`` is libvirt's own."""

    def __init__(
        self,
        connection: Any,
        native: Any,
        domain: DomainId,
        *,
        version: int,
        records: Records,
        host_files: HostFiles,
    ) -> None:
        self.connection = connection
        self.native = native
        self.id = domain
        self.name = domain.name
        self.version = version
        self._records = records
        self._host_files = host_files
        self._seen: Optional[dict[str, Any]] = None

    @contextmanager
    def seen_once(self) -> Iterator[None]:
        """Ask libvirt each question once for the block, which changes nothing: all is decided by one reading."""
        self._seen = {}
        try:
            yield
        finally:
            self._seen = None

    def _once(self, what: str, doing: str, read: Callable[[], Any]) -> Any:
        if self._seen is not None and what in self._seen:
            return self._seen[what]
        with translated(self.name, doing):
            found = read()
        if self._seen is not None:
            self._seen[what] = found
        return found

    def active(self) -> bool:
        """Whether the domain has a QEMU process."""
        return bool(self._once("active", "asking whether it runs", self.native.isActive))

    def xml(self) -> Any:
        """Return the domain as it runs, or as it is defined where it does not."""
        return self._once("xml", "reading the VM", lambda: read_domain(self.native))

    def definition(self) -> Any:
        """Return the domain as its next start will have it."""
        flags = _INACTIVE | _SECURE
        return self._once("definition", "reading its definition", lambda: read_domain(self.native, flags))

    def disk(self, target: str) -> Disk:
        """Return a disk as the domain has it now."""
        return next(disk for disk in disks(self.xml()) if disk.target == target)

    def tops(self) -> list[tuple[str, str]]:
        """Return target and image of each disk, as it runs and as it is defined."""
        found = (*image_disks(self.xml()), *image_disks(self.definition()))
        return list(dict.fromkeys((disk.target, str(disk.source)) for disk in found if not disk.readonly))

    def saved(self) -> list[Saved]:
        """Return all its snapshots as libvirt keeps them."""
        found: list[Saved] = self._once("saved", "reading its snapshots", lambda: read_saved(self.native))
        return found

    def snapshot(self, name: str) -> Saved:
        """Return the snapshot of that name. Raises ``busy`` where somebody has just removed it."""
        found = next((one for one in self.saved() if one.name == name), None)
        if found is None:
            raise removed_meanwhile(self.name, name)
        return found

    def record(self) -> Record:
        """Return what this collection notes of it."""
        return self._records.read(self.id)

    def write(self, record: Record, durable: bool = False) -> None:
        """Replace what this collection notes of it."""
        self._records.write(self.id, record, durable)

    def keep_record(self) -> bytes | None:
        """Return its record's very bytes, for `put_back_record`."""
        return self._records.keep(self.id)

    def put_back_record(self, kept: bytes | None) -> None:
        """Make its record what it was before something that was refused."""
        self._records.put_back(self.id, kept)

    def note_merging(self, step: Merge, used: bool) -> None:
        """Note to which images a merge is about to write and, where the upper one is ``used``, which is merged into which."""
        record = self.record()
        if record.journal:
            journal = replace(record.journal, merging=(step.top, step.base) if used else ())
            images = before_merge(record.images, step.top, step.base, step.above)
            self.write(replace(record, journal=journal, images=images), durable=True)

    def note_percent(self, percent: int | None) -> None:
        """Tell others how far a merge has got."""
        self._records.note_percent(self.id, percent)

    def around(self) -> Surroundings:
        """Return what is there beside it on its host."""
        with translated("the host", "reading what its VMs use"):
            return Surroundings(self._host_files, self._host_files.users(self.connection), self.id.uuid)

    def survey(
        self, without: Collection[str] = (), record: Record | None = None, going: Collection[str] = ()
    ) -> Forest:
        """Read all its layers off the disks, as if there were no snapshots ``without`` and no overlays that are ``going``."""
        snapshots = [one for one in self.saved() if one.name not in without]
        running = self.active()
        domains, record = [self.xml(), self.definition()], record or self.record()
        return survey(self.name, domains, snapshots, record, around=self.around(), running=running, going=going)

    def define(self, images: Mapping[str, tuple[str, str]]) -> None:
        """Put disks (by target) on other images (path and format) in its definition; nothing else changes."""
        root = self.definition()
        for disk in root.iterfind("devices/disk"):
            image = images.get(disk.find("target").get("dev"))
            if image:
                point_to(disk, *image)
        with translated(self.name, "defining it on its new images"):
            self.connection.defineXML(unresolved(root))

    def forget_layers(self, merged: str = "") -> None:
        """Take layers that were merged, or are gone, out of the chains that its definition tells: it would not start.

        Libvirt (9.0 and later) writes chains into the definition when a snapshot is taken of a running VM, and believes them.
        """
        root = self.definition()
        stale = [one for one in root.iter("backingStore") if _is_gone(one, merged)]
        for layer in stale:
            below = layer.find("backingStore")
            if below is None:
                layer.getparent().remove(layer)
            else:
                layer.getparent().replace(layer, below)
        if stale:
            with translated(self.name, "taking a merged layer out of its definition"):
                self.connection.defineXML(unresolved(root))

    def agree(self, forest: Forest, moved: Mapping[str, tuple[str, str]]) -> None:
        """Make libvirt's notes on its snapshots agree with its layers; what they name no more is noted as ours still."""
        found = self.saved()

        def unnamed(overlay: str) -> None:
            record = self.record()
            if overlay in forest.layers.ours.difference(record.overlays):
                self.write(replace(record, overlays=(*record.overlays, overlay)), durable=True)

        with translated(self.name, "rewriting what libvirt keeps of its snapshots"):
            current = true_current(found, forest, current_name(self.native))
            agree(self.native, self.version, found, current, disk=forest.on_disk(moved), unnamed=unnamed)

    def unlink(self, files: Iterable[str]) -> None:
        """Delete files that nothing needs any more, and tell the storage pools. Raises ``file_in_use``."""
        going, directories = self._in_order(files), set()
        for file, pid in still_open(going).items():
            raise KvmError(
                "file_in_use",
                f"{file} of {self.name} is open in process {pid}, though neither libvirt nor another image needs it.",
                "No file was deleted. If that process is the VM's QEMU, libvirt was killed while it switched disks: shut "
                f"the guest down from inside only after looking at: ls -l /proc/{pid}/fd.",
                file=file,
                pid=pid,
            )
        for file in going:
            if is_device(file):
                continue  # what is on it is needed no more, and whose it is to be next is not for us to say
            try:
                os.unlink(file)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise KvmError(
                    "file_not_removed",
                    f"{file}, which {self.name} does not need any more, cannot be deleted: {error.strerror}.",
                    "The VM is as it should be. Run the task again when the file can be deleted.",
                ) from error
            directories.add(os.path.dirname(file))
        for directory in directories:
            with suppress(libvirt.libvirtError):  # no pool there, or one that is busy and will refresh itself
                self.connection.storagePoolLookupByTargetPath(directory).refresh(0)

    def _in_order(self, files: Iterable[str]) -> list[str]:
        """Return what is about to be deleted, an overlay before what it is based on; looked at for the last time.

        Raises ``file_in_use`` where anybody else needs one of them.
        """
        going = {os.path.realpath(file): file for file in files}
        around = self.around()
        around.files.look_into({os.path.dirname(file) for file in going})
        above = {file: [one for one in around.files.above(file) if is_based_on(one, file)] for file in going}
        for file in going:
            users = [str(user) for user in around.users.of(file, self.id.uuid)]
            users += [one for one in above[file] if one not in going]
            unknown = around.why_unknown(file)
            users += [f"nobody can tell whom ({unknown})"] if unknown else []
            if users:
                raise _needed(self.name, file, list(dict.fromkeys(users)))
        ordered: list[str] = []
        while len(ordered) < len(going):
            left = [file for file in going if file not in ordered]
            # Headers that name each other in a circle are none of ours, and must not hold up anything.
            ordered += [file for file in left if set(above[file]).issubset(ordered)] or left
        return [going[file] for file in ordered]


def gone_layers(domain: Any) -> list[str]:
    """Return the files that the chains in a VM's definition name and that are not there."""
    return [str(source_path(one)) for one in domain.iter("backingStore") if _is_gone(one)]


def _is_gone(layer: Any, merged: str = "") -> bool:
    path = source_path(layer)
    return path is not None and (os.path.realpath(path) == merged or not os.path.lexists(path))


def _needed(vm: str, file: str, users: list[str]) -> KvmError:
    return KvmError(
        "file_in_use",
        f"{file}, which {vm} does not need any more, is needed by {' and '.join(users)}.",
        "No file was deleted. Run the task again: it looks at what is there first.",
        file=file,
        users=users,
    )


def true_current(snapshots: list[Saved], forest: Forest, called: str | None) -> str | None:
    """Return the snapshot that the VM's present is based on, going by its layers: the one whose states are nearest, if any.

    Where several are, as those inside one image, it is the one that libvirt calls current, or the newest.
    """
    depths = {one.name: depth for one in snapshots if (depth := _depth(one, forest)) is not None}
    newest_first = sorted(snapshots, key=lambda one: one.created_at, reverse=True)
    near = [one.name for one in newest_first if one.name in depths and depths[one.name] == min(depths.values())]
    return called if called in near else next(iter(near), None)


def _depth(snapshot: Saved, forest: Forest) -> int | None:
    depths = []
    for part in snapshot.disks:
        if part.target not in forest.tops:
            continue
        chain, state = forest.chain(forest.tops[part.target]), os.path.realpath(part.state)
        if state not in chain or (part.overlay and state == chain[0]):
            return None
        depths.append(chain.index(state))
    return min(depths, default=None)
