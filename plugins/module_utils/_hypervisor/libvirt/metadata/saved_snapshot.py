# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What libvirt keeps of a snapshot, and rewriting it: which image holds each disk's state, which overlay lies on that.

Semantics (docs/formatsnapshot.rst): ``disks`` are the overlays made at the snapshot; the images they were put on, which
the snapshot's ``domain`` names, hold its state. ``revertDisks`` (since 9.7) are the overlays the VM is on after libvirt's
own revert to a snapshot that has children; a redefinition loses them (11.3).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.connection import (
    snapshot_texts,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.libraries import etree
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.pool_volumes import parse_of
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.real_paths import real_path
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.devices import (
    RESOLVED,
    UNRESOLVED,
    Disk,
    disks,
    image_disks,
    source_path,
)

_SECURE = 1  # VIR_DOMAIN_SNAPSHOT_XML_SECURE: without it a redefinition would lose passwords


@dataclass(frozen=True)
class SavedDisk:
    """A disk in a snapshot: its frozen image, and the overlay on that (None of an internal one)."""

    target: str
    frozen: str
    format: str
    overlay: str | None


@dataclass(frozen=True)
class Saved:
    """A snapshot as libvirt keeps it. ``disks`` are those it covers, ``vm_disks`` all that the VM had.

    ``elsewhere`` are disks it covers whose state is on no file that can be found here.
    """

    name: str
    created_at: str
    parent: str | None
    kind: str
    state: str
    memory: str
    memory_file: str | None
    disks: tuple[SavedDisk, ...]
    vm_disks: tuple[Disk, ...]
    reverted_to: tuple[str, ...]
    xml: Any
    elsewhere: tuple[Disk, ...] = ()

    @property
    def description(self) -> str:
        """Its description as libvirt keeps it."""
        return str(self.xml.findtext("description", ""))

    @property
    def overlays(self) -> tuple[str, ...]:
        """The overlays it names, those of a revert too."""
        return (*(disk.overlay for disk in self.disks if disk.overlay), *self.reverted_to)

    @property
    def also_defined(self) -> tuple[str, ...]:
        """Images that the VM's definition named at the snapshot and that the VM was not on: it ran on others."""
        inactive = self.xml.find("inactiveDomain")
        known = {disk.source for disk in self.vm_disks}
        found = () if inactive is None else image_disks(inactive)
        return tuple(str(disk.source) for disk in found if disk.source not in known)


def named_by(snapshots: Iterable[Saved]) -> set[str]:
    """Return the paths of all files that snapshots name, whether they are there or not."""
    frozen = {part.frozen for one in snapshots for part in one.disks}
    return frozen.union(*((*one.overlays, str(one.memory_file)) for one in snapshots))


def read_saved(native: Any) -> list[Saved]:
    """Return all snapshots of a domain. Raises `libvirtError`."""
    return [saved(parse_of(native, text)) for text in snapshot_texts(native, _SECURE)]


def saved(root: Any) -> Saved:
    """Return what an element ``domainsnapshot`` says."""
    domain = root.find("domain")
    known = {} if domain is None else {disk.target: disk for disk in disks(domain)}
    memory = root.find("memory")
    memory_kind = "no" if memory is None else memory.get("snapshot", "no")
    chosen = [element for element in root.findall("disks/disk") if element.get("snapshot") not in ("no", "manual")]
    kinds = {element.get("snapshot", "internal") for element in chosen} | {memory_kind}
    kinds -= {"no"}
    return Saved(
        name=root.findtext("name"),
        created_at=datetime.fromtimestamp(int(root.findtext("creationTime", "0")), timezone.utc).isoformat(),
        parent=root.findtext("parent/name"),
        kind=kinds.pop() if len(kinds) == 1 else "mixed" if kinds else "none",
        state=root.findtext("state", "unknown"),
        memory=memory_kind,
        memory_file=memory.get("file") if memory_kind == "external" else None,
        disks=tuple(_saved_disks(chosen, known)),
        vm_disks=tuple(known.values()),
        reverted_to=tuple(filter(None, map(source_path, root.iterfind("revertDisks/disk")))),
        xml=root,
        elsewhere=tuple(
            disk for one in chosen if (disk := known.get(one.get("name"))) and disk.has_source and disk.source is None
        ),
    )


def _saved_disks(chosen: list[Any], known: Mapping[str, Disk]) -> Iterator[SavedDisk]:
    for element in chosen:
        before = known.get(element.get("name"))
        if before is None or before.source is None:
            continue
        yield SavedDisk(before.target, before.source, before.format, source_path(element))


def point_to(disk: Any, path: str, image_format: str) -> None:
    """Put a ``<disk>``, of a domain or a snapshot, on another image.

    Its ``<backingStore>`` goes: a stale one makes libvirt build a wrong chain, or none.
    """
    block = os.path.exists(path) and stat.S_ISBLK(os.stat(path).st_mode)
    disk.set("type", "block" if block else "file")
    source = disk.find("source")
    for attribute in ("file", "dev", "index", "pool", "volume", "mode", RESOLVED, UNRESOLVED):
        source.attrib.pop(attribute, None)
    source.set("dev" if block else "file", path)
    driver = disk.find("driver")
    if driver is None:
        driver = etree.Element("driver", name="qemu")
        disk.insert(0, driver)
    driver.set("type", image_format)
    for stale in disk.findall("backingStore"):
        disk.remove(stale)


def states_of(every: Iterable[Saved], names: Iterable[str]) -> list[set[str]]:
    """Return the images that hold each of the named snapshots, in their order, by real paths."""
    found = {one.name: {real_path(part.frozen) for part in one.disks if part.overlay} for one in every}
    return [found.get(name, set()) for name in names]
