# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM of the mock's state file as a `VirtualMachine`, with its snapshots."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.mock.storage_report import Files, past_of
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.mock.vm_xml import vm_element
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.devices import agent_connected
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.taking.memory import (
    memory_blockers,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import (
    LeftOut,
    Snapshot,
    SnapshotDisk,
    in_tree_order,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import VirtualMachine, VmId

_DEFAULT_MEMORY_MIB = 1024


def virtual_machine(native: Mapping[str, Any], files: Files) -> VirtualMachine:
    element = vm_element(native)
    snapshots = [_snapshot(entry, files) for entry in native["snapshots"]]
    return VirtualMachine(
        id=VmId(native["name"], native["uuid"]),
        power=native["state"],
        persistent=native.get("persistent", True),
        guest_agent=agent_connected(element),
        memory_bytes=native.get("memory_mib", _DEFAULT_MEMORY_MIB) << 20,
        memory_blockers=memory_blockers(element),
        snapshots=in_tree_order([replace(one, current=one.name == native["current"]) for one in snapshots]),
    )


def _snapshot(entry: Mapping[str, Any], files: Files) -> Snapshot:
    disks = tuple(_snapshot_disk(disk, files) for disk in entry.get("disks", ()))
    memory_file = entry.get("memory_file")
    past = past_of(entry, files)
    # The overlay of a leaf goes with a revert to elsewhere; what the snapshot holds is below it.
    needed = [disk.base for disk in disks if disk.base] + ([memory_file] if memory_file else [])
    return Snapshot(
        **{
            **entry,
            "disks": disks,
            "left_out": tuple(LeftOut(**part) for part in entry.get("left_out", ())),
            "missing_files": tuple(file for file in needed if files.get(file) is None),
            "past": past.past,
            "past_reasons": past.reasons,
        }
    )


def _snapshot_disk(disk: Mapping[str, Any], files: Files) -> SnapshotDisk:
    entry = files.get(disk.get("file") or "") or {}
    return SnapshotDisk(disk["target"], disk.get("file"), disk.get("format"), entry.get("size"), disk.get("base"))
