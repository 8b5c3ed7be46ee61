# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots as libvirt writes them: our values to ``<domainsnapshot>`` and back."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.libraries import etree
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.saved_snapshot import (
    Saved,
    SavedDisk,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.vm_record import (
    SnapshotRecord,
    snapshot_key,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.image_changes import Past
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.taking.coverage import (
    NOT_CHOSEN,
    beside_disks,
    why_left_out,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.taking.firmware_copies import without_copied
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.plan import SnapshotPlan
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import LeftOut, Snapshot, SnapshotDisk


def to_xml(plan: SnapshotPlan, targets: Sequence[str]) -> str:
    """Return the XML that takes the planned snapshot; every disk of ``targets`` is named, none is left to a default."""
    planned = plan.snapshot
    root = etree.Element("domainsnapshot")
    etree.SubElement(root, "name").text = planned.name
    if planned.description:
        etree.SubElement(root, "description").text = planned.description
    if planned.memory_file:
        etree.SubElement(root, "memory", snapshot="external", file=planned.memory_file)
    else:
        etree.SubElement(root, "memory", snapshot="no")
    overlays = {disk.target: disk for disk in planned.disks}
    parent = etree.SubElement(root, "disks")
    for target in targets:
        if target not in overlays:
            etree.SubElement(parent, "disk", name=target, snapshot="no")
            continue
        disk = etree.SubElement(parent, "disk", name=target, snapshot="external", type="file")
        etree.SubElement(disk, "driver", type="qcow2")
        etree.SubElement(disk, "source", file=overlays[target].file)
    return str(etree.tostring(root, encoding="unicode"))


def from_saved(one: Saved, notes: Mapping[str, SnapshotRecord], past: Past) -> Snapshot:
    """Return a snapshot; ``notes`` is what our own record knows of some. ``current`` is left False."""
    note = notes.get(snapshot_key(one.name, one.created_at), SnapshotRecord(owned=False))
    # The overlay of a leaf goes with a revert to elsewhere; what the snapshot holds is below it.
    needed = [disk.frozen for disk in one.disks] + ([one.memory_file] if one.memory_file else [])
    return Snapshot(
        name=one.name,
        description=_description(one.description, note),
        created_at=one.created_at,
        parent=one.parent,
        state=one.state,
        kind=one.kind,
        include_memory=one.memory != "no",
        quiesced=note.quiesced,
        disks=tuple(_disk(part) for part in one.disks),
        left_out=_left_out(one, note),
        memory_file=one.memory_file,
        nvram=note.nvram.file if note.nvram else None,
        tpm=note.tpm.file if note.tpm else None,
        missing_files=tuple(file for file in needed if not os.path.exists(file)),
        owned=note.owned,
        protected=note.protected,
        labels=note.labels,
        expires=note.expires,
        past=past.past,
        past_reasons=past.reasons,
    )


def _description(by_libvirt: str, note: SnapshotRecord) -> str:
    return by_libvirt if note.description is None or note.instead_of != by_libvirt else note.description


def _disk(part: SavedDisk) -> SnapshotDisk:
    try:
        size = os.stat(part.overlay).st_blocks * 512 if part.overlay else None
    except OSError:
        size = None
    return SnapshotDisk(part.target, part.overlay, "qcow2" if part.overlay else part.format, size, part.frozen)


def _left_out(one: Saved, note: SnapshotRecord) -> tuple[LeftOut, ...]:
    known = {disk.target: disk for disk in one.vm_disks}
    left_out = []
    for element in one.xml.iterfind("disks/disk"):
        if element.get("snapshot") in ("no", "manual"):
            target = element.get("name")
            reason = why_left_out(known[target]) if target in known else ""
            left_out.append(LeftOut(target, reason or NOT_CHOSEN))
    domain = one.xml.find("domain")
    beside = () if domain is None else beside_disks(domain)
    return (*left_out, *(without_copied(beside) if one.memory == "external" else without_copied(beside, note.copies)))
