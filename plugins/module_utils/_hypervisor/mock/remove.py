# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Removing snapshots in the mock: what was a state is none any more, and layers that nothing needs are merged."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.mock.images import (
    apply,
    delete_file,
    layers_of,
    merged_bytes,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.mock.json_file import find_vm
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.mock.refusals import (
    readable_chain,
    refuse_busy,
    refuse_missing,
    refuse_mixed,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.layer_steps import Merge, gone, steps
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.merge_refusals import no_space_to_merge
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.merged import Merging, cost
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.plan import RemovalPlan
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import Snapshot
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import VirtualMachine


@dataclass(frozen=True)
class Removed:
    """What the removal of a snapshot came to: the files that went, and how many bytes went down with each merge."""

    files: tuple[str, ...]
    merged: Mapping[Merge, int]


def plan_remove(
    state: Mapping[str, Any], vm: VirtualMachine, snapshots: Sequence[Snapshot], orphans: Sequence[str]
) -> RemovalPlan:
    """Return the plan, rehearsed on a copy. Raises as `Hypervisor.plan_remove` says."""
    native = find_vm(state, vm.id)
    refuse_busy(vm, native)
    refuse_mixed(vm.name, native, snapshots, state["files"])
    for snapshot in snapshots:
        refuse_missing(vm.name, snapshot, state["files"], with_memory=False)
    for disk in native["disks"]:
        if disk.get("source") and disk.get("type", "file") in ("file", "block"):
            readable_chain(vm.name, disk["target"], disk["source"], state["files"])
    later = copy.deepcopy(dict(state))
    for file in orphans:
        delete_file(later, file)
    removed = [forget(later, vm, snapshot.name) for snapshot in snapshots]
    _refuse_without_room(vm.name, state, removed)
    files = tuple(file for one in removed for file in one.files)
    merges = [Merging(step.base, size, size, {step.top: size}) for one in removed for step, size in one.merged.items()]
    copied, needs = cost(merges)
    return RemovalPlan(vm=vm, snapshots=tuple(snapshots), dropped=files, copied=copied, needs=needs)


def forget(state: dict[str, Any], vm: VirtualMachine, name: str) -> Removed:
    """Remove a snapshot, leaving the VM's present and every other snapshot as they are."""
    native = find_vm(state, vm.id)
    entry = next(one for one in native["snapshots"] if one["name"] == name)
    native["snapshots"].remove(entry)
    for child in native["snapshots"]:
        if child.get("parent") == name:
            child["parent"] = entry.get("parent")
    if native["current"] == name:
        native["current"] = entry.get("parent")
    if entry.get("kind") != "internal":
        native["former"] += [disk["base"] for disk in entry.get("disks", ()) if disk.get("base")]
        native["overlays"] += [disk["file"] for disk in entry.get("disks", ()) if disk.get("file")]
    found = steps(layers_of(state, native))
    merged = {step: merged_bytes(state, step) for step in found if isinstance(step, Merge)}
    apply(state, native, found)
    files = gone(found)
    for beside in filter(None, (entry.get("memory_file"), entry.get("nvram"), entry.get("tpm"))):
        delete_file(state, beside)
        files += (beside,)
    return Removed(files, merged)


def _refuse_without_room(vm: str, state: Mapping[str, Any], removed: Sequence[Removed]) -> None:
    """Raise ``no_space`` where what goes down into an image finds no room beside it: the overlay is deleted after that."""
    for one in removed:
        for step, size in one.merged.items():
            free = state["directories"].get(os.path.dirname(step.base), {}).get("free")
            if free is not None and free < size:
                raise no_space_to_merge(vm, step.top, step.base, free=free, wanted=size)
