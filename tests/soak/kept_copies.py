# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a hypervisor: a VM as it was, kept apart and put back, so that a step is tried on it again."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import libvirt
from here import _CONNECTION, ROOT, _domain, remove, virsh

# Far from the VM's images: its overlays name the images of the VM, and beside them they would be clones that must be spared.
_COPIES = "/var/tmp/limiquantix-soak"
_KEPT: dict[str, dict[str, Any]] = {}  # what `again` needs beside the files, by VM


def keep(vm: str) -> dict[str, Any]:
    """Shut a VM off, and keep a copy of all there is of it, for `again`."""
    virsh("destroy", vm, check=False)
    domain = _domain(vm)
    copy = f"{_COPIES}/{vm}"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(f"{ROOT}/{vm}", copy)
    snapshots = domain.listAllSnapshots(libvirt.VIR_DOMAIN_SNAPSHOT_LIST_TOPOLOGICAL)
    record = f"/var/lib/limiquantix-kvm/{domain.UUIDString()}.json"
    _KEPT[vm] = {
        "definition": domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE),
        "snapshots": [(one.getName(), one.getXMLDesc(0)) for one in snapshots],
        "current": domain.snapshotCurrent(0).getName() if domain.hasCurrentSnapshot(0) else None,
        "record": (record, Path(record).read_text("utf-8") if os.path.exists(record) else None),
    }
    return {"names": [one.getName() for one in snapshots]}


def again(vm: str, on: bool) -> dict[str, Any]:
    """Make a VM as it was when it was kept."""
    remove(vm)
    kept = _KEPT[vm]
    shutil.copytree(f"{_COPIES}/{vm}", f"{ROOT}/{vm}")
    domain = _CONNECTION[0].defineXML(kept["definition"])
    for name, text in kept["snapshots"]:
        current = libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_CURRENT if name == kept["current"] else 0
        domain.snapshotCreateXML(text, libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_REDEFINE | current)
    path, text = kept["record"]
    if text is not None:
        Path(path).write_text(text, "utf-8")
    if on:
        virsh("start", vm)
    return {}
