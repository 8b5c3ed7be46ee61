# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reverting in the mock: new empty overlays on the images that hold the snapshot's state, then what nothing needs goes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.mock.images import (
    NEW_OVERLAY_SIZE,
    add_overlay,
    apply,
    layers_of,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.mock.json_file import find_vm
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.mock.json_format import DEFAULT_SIZE
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.mock.refusals import (
    refuse_busy,
    refuse_changed_disks,
    refuse_missing,
    refuse_mixed,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.mock.take_plan import unused
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.mock.vm_xml import vm_element
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.firmware_states import firmware_states
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.guest_clock import clock_foreseen
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.layer_steps import Step, gone, steps
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.snapshot_names import file_name
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.taking.firmware_copies import firmware_stays
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.plan import RevertPlan
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import Snapshot, SnapshotDisk
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import VirtualMachine


def plan_revert(state: Mapping[str, Any], vm: VirtualMachine, snapshot: Snapshot, power: str) -> RevertPlan:
    """Return the plan, rehearsed on a copy. Raises as `Hypervisor.plan_revert` says."""
    native = find_vm(state, vm.id)
    afterwards = _power(vm, power)
    refuse_busy(vm, native)
    refuse_mixed(vm.name, native, [snapshot], state["files"])
    refuse_changed_disks(vm.name, native, snapshot, state["files"])
    refuse_missing(vm.name, snapshot, state["files"], afterwards != "shutoff")
    overlays = () if snapshot.kind == "internal" else tuple(_overlay(state, native, snapshot, vm))
    plan = RevertPlan(
        vm=vm,
        snapshot=snapshot,
        overlays=overlays,
        dropped=(),
        power=afterwards,
        needed=not (
            afterwards == vm.power == "shutoff"
            and _untouched(state, native, snapshot)
            and not _firmware_differs(state["files"], native, snapshot)
        ),
        notes=(*_notes(vm, snapshot, afterwards), *_told_of_firmware(native, snapshot, afterwards)),
    )
    return _rehearsed(plan, deepcopy(dict(state)))


def go_back(state: dict[str, Any], plan: RevertPlan) -> list[Step]:
    """Do what is planned, and return what it made of layers."""
    native = find_vm(state, plan.vm.id)
    entry = next(one for one in native["snapshots"] if one["name"] == plan.snapshot.name)
    leaf = not any(one.get("parent") == entry["name"] for one in native["snapshots"])
    for overlay in plan.overlays:
        add_overlay(state, str(overlay.file), str(overlay.base))
        disk = next(disk for disk in native["disks"] if disk["target"] == overlay.target)
        disk.update(source=overlay.file, format="qcow2", type="file")
        noted = next(disk for disk in entry["disks"] if disk["target"] == overlay.target)
        if leaf and noted.get("file"):
            native["overlays"].append(noted["file"])
        if leaf:
            noted.update(file=overlay.file, format="qcow2")
        else:
            native["overlays"].append(overlay.file)
    for part, kept in firmware_states(vm_element(native)).items():
        copy = state["files"].get(plan.snapshot.firmware_copies.get(part))
        if copy and kept.file:
            state["files"][kept.file] = dict(copy)
    native.update(current=plan.snapshot.name, state=plan.power)
    found = steps(layers_of(state, native), merging=False)
    apply(state, native, found)
    return found


def _rehearsed(plan: RevertPlan, state: dict[str, Any]) -> RevertPlan:
    values = {**plan.__dict__, "dropped": gone(go_back(state, plan)) if plan.needed else ()}
    return RevertPlan(**values)


def _power(vm: VirtualMachine, power: str) -> str:
    if power != "restore":
        return power
    return vm.power if vm.active else "shutoff"


def _overlay(
    state: Mapping[str, Any], native: Mapping[str, Any], snapshot: Snapshot, vm: VirtualMachine
) -> list[SnapshotDisk]:
    sources = {disk["target"]: str(disk["source"]) for disk in native["disks"] if disk.get("source")}
    overlays = []
    for disk in snapshot.disks:
        directory = os.path.dirname(disk.file or sources[disk.target])
        path = unused(state["files"], directory, file_name(vm.name, disk.target, snapshot.name), ".qcow2")
        overlays.append(SnapshotDisk(disk.target, path, "qcow2", None, disk.base))
    return overlays


def _untouched(state: Mapping[str, Any], native: Mapping[str, Any], snapshot: Snapshot) -> bool:
    """Whether the present is the snapshot's state with nothing written since, as far as the size tells."""
    if native["current"] != snapshot.name or snapshot.kind == "internal":
        return False
    sources = {disk["target"]: state["files"].get(disk.get("source")) or {} for disk in native["disks"]}
    return all(
        sources[disk.target].get("backing_file") == disk.base and sources[disk.target].get("size") == NEW_OVERLAY_SIZE
        for disk in snapshot.disks
    )


def _firmware_differs(files: Mapping[str, Any], native: Mapping[str, Any], snapshot: Snapshot) -> bool:
    """Whether a copy is not what the VM has, as far as the size tells."""
    kept = firmware_states(vm_element(native))
    pairs = [
        (files.get(copy), files.get(kept[part].file)) for part, copy in snapshot.firmware_copies.items() if part in kept
    ]
    return any(copy and (there or {}).get("size", DEFAULT_SIZE) != copy.get("size") for copy, there in pairs)


def _told_of_firmware(native: Mapping[str, Any], snapshot: Snapshot, power: str) -> tuple[str, ...]:
    if snapshot.include_memory and power != "shutoff":
        return ()
    missing = [part for part in firmware_states(vm_element(native)) if part not in snapshot.firmware_copies]
    return tuple(map(firmware_stays, missing))


def _notes(vm: VirtualMachine, snapshot: Snapshot, power: str) -> tuple[str, ...]:
    if not snapshot.include_memory:
        return ()
    if power == "shutoff":
        return ("its memory is not loaded, since the VM stays off",)
    return clock_foreseen(vm.name, snapshot.created_at, power, vm.guest_agent)
