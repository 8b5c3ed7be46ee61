# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots as libvirt writes them: our values to ``<domainsnapshot>`` and back."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from ansible_collections.limiquantix.kvm.plugins.module_utils._backend.libvirt._library import etree
from ansible_collections.limiquantix.kvm.plugins.module_utils._domain._coverage import (
    NOT_CHOSEN,
    firmware_left_out,
    nothing_to_save,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._domain._xml import disks
from ansible_collections.limiquantix.kvm.plugins.module_utils._record import snapshot_key
from ansible_collections.limiquantix.kvm.plugins.module_utils._snapshot import (
    LeftOut,
    Snapshot,
    SnapshotDisk,
    SnapshotPlan,
)


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


def from_xml(xml: str, quiesced: Mapping[str, bool]) -> Snapshot:
    """Return a snapshot; ``quiesced`` is what our own record knows of the ones we took. ``current`` is left False."""
    root = etree.fromstring(xml.encode())
    name = root.findtext("name")
    created_at = datetime.fromtimestamp(int(root.findtext("creationTime", "0")), timezone.utc).isoformat()
    memory = root.find("memory")
    memory_kind = "no" if memory is None else memory.get("snapshot", "no")
    elements = root.findall("disks/disk")
    kinds = {element.get("snapshot", "internal") for element in elements} | {memory_kind}
    kinds -= {"no", "manual"}
    saved = tuple(_disk(element) for element in elements if element.get("snapshot") not in ("no", "manual"))
    memory_file = memory.get("file") if memory_kind == "external" else None
    files = [disk.file for disk in saved if disk.file] + ([memory_file] if memory_file else [])
    return Snapshot(
        name=name,
        description=root.findtext("description", ""),
        created_at=created_at,
        parent=root.findtext("parent/name"),
        state=root.findtext("state", "unknown"),
        kind=kinds.pop() if len(kinds) == 1 else "mixed" if kinds else "none",
        include_memory=memory_kind != "no",
        quiesced=quiesced.get(snapshot_key(name, created_at)),
        disks=saved,
        left_out=_left_out(root, elements),
        memory_file=memory_file,
        missing_files=tuple(file for file in files if not os.path.exists(file)),
    )


def _disk(element: Any) -> SnapshotDisk:
    source = element.find("source")
    file = None if source is None else source.get("file") or source.get("dev")
    driver = element.find("driver")
    try:
        size = os.stat(file).st_blocks * 512 if file else None
    except OSError:
        size = None
    return SnapshotDisk(element.get("name"), file, None if driver is None else driver.get("type"), size)


def _left_out(root: Any, elements: Sequence[Any]) -> tuple[LeftOut, ...]:
    domain = root.find("domain")
    known = {} if domain is None else {disk.target: disk for disk in disks(domain)}
    left_out = []
    for element in elements:
        if element.get("snapshot") in ("no", "manual"):
            target = element.get("name")
            reason = nothing_to_save(known[target]) if target in known else ""
            left_out.append(LeftOut(target, reason or NOT_CHOSEN))
    return (*left_out, *(() if domain is None else firmware_left_out(domain)))
