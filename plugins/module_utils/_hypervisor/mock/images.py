# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The mock's images: making and deleting them, and what merging layers makes of them and of all that names them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any, Union

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.mock.json_format import (
    DEFAULT_SIZE,
    DEFAULT_VIRTUAL_SIZE,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.layer_steps import Drop, Layers, Merge, Step
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.refusals import overlay_failed

NEW_OVERLAY_SIZE = 200704  # what qemu-img makes of an empty one


def add_overlay(state: dict[str, Any], overlay: str, backing: str) -> None:
    """Make an empty overlay. Raises ``overlay_failed`` where there is a file already."""
    virtual_size = state["files"][backing].get("virtual_size", DEFAULT_VIRTUAL_SIZE)
    entry = {"format": "qcow2", "size": NEW_OVERLAY_SIZE, "virtual_size": virtual_size, "backing_file": backing}
    add_file(state, overlay, entry)


def add_file(state: dict[str, Any], path: str, entry: Mapping[str, Any]) -> None:
    """Make a file, which takes room. Raises ``overlay_failed`` where there is one already."""
    if state["files"].get(path) is not None:
        raise overlay_failed(path, "File exists")
    state["files"][path] = dict(entry)
    _take_room(state, path, entry["size"])


def delete_file(state: dict[str, Any], path: str) -> None:
    """Delete a file, which gives room, where there is one."""
    entry = state["files"].pop(path, None)
    if entry is not None:
        _take_room(state, path, -entry.get("size", DEFAULT_SIZE))


def layers_of(state: Mapping[str, Any], native: Mapping[str, Any]) -> Layers:
    """Return every image there is, and what they are to a VM; what other VMs use is left to them."""
    there = {file: entry.get("backing_file") for file, entry in state["files"].items() if entry is not None}
    snapshots = [disk for one in native["snapshots"] for disk in one.get("disks", ())]
    others = [vm for vm in state["vms"] if vm["uuid"] != native["uuid"]]
    states = {disk["base"] for vm in state["vms"] for one in vm["snapshots"] for disk in _external(one)}
    return Layers(
        backing=there,
        frozen=(states | {source for vm in others for source in _sources(vm)}) & set(there),
        active=_sources(native) & set(there),
        ours={*native["overlays"], *(disk["file"] for disk in snapshots if disk.get("file"))} & set(there),
        released=set(native["former"]) & set(there),
        fixed=_internal_holders(native),
    )


def _sources(vm: Mapping[str, Any]) -> set[str]:
    return {str(disk["source"]) for disk in vm["disks"] if disk.get("source")}


def _internal_holders(native: Mapping[str, Any]) -> set[str]:
    """Return the images that hold snapshots inside."""
    inside = [one for one in native["snapshots"] if one.get("kind") == "internal"]
    return {str(disk["base"]) for one in inside for disk in one.get("disks", ()) if disk.get("base")}


def apply(state: dict[str, Any], native: dict[str, Any], found: Iterable[Step]) -> None:
    """Do what was found out to be done about layers."""
    for step in found:
        if isinstance(step, Drop):
            delete_file(state, step.file)
            _rename(state, native, step.file, None)
        else:
            _merge(state, native, step)
    based_on = {entry.get("backing_file") for entry in state["files"].values() if entry is not None}
    native["former"] = sorted(based_on.intersection(native["former"]))
    native["overlays"] = sorted(set(native["overlays"]))


def _merge(state: dict[str, Any], native: dict[str, Any], step: Merge) -> None:
    base = state["files"][step.base]
    grows = merged_bytes(state, step)
    base["size"] = base.get("size", DEFAULT_SIZE) + grows
    layers = (base, *(state["files"][file] for file in step.gone))
    changed = [entry["changed"] for entry in layers if "changed" in entry]
    if changed:
        base["changed"] = max(changed)
    _take_room(state, step.base, grows)
    for file in step.above:
        state["files"][file]["backing_file"] = step.base
    for file in step.gone:
        delete_file(state, file)
        _rename(state, native, file, step.base)


def merged_bytes(state: Mapping[str, Any], step: Merge) -> int:
    """Return by how much an image grows at most with what is merged into it."""
    base = state["files"][step.base]
    most = base.get("virtual_size", DEFAULT_VIRTUAL_SIZE) - base.get("size", DEFAULT_SIZE)
    return int(max(0, min(most, sum(state["files"][file].get("size", DEFAULT_SIZE) for file in step.gone))))


def _rename(state: Mapping[str, Any], native: dict[str, Any], old: str, new: Union[str, None]) -> None:
    """Have everything that names a file that is gone name the one that took its place, or none."""
    for role in ("overlays", "former"):
        native[role] = [file for file in native[role] if file != old]
    for disk in native["disks"]:
        if disk.get("source") == old and new is not None:
            kind = "block" if new.startswith("/dev/") else "file"
            disk.update(source=new, format=state["files"][new]["format"], type=kind)
    for disk in (disk for one in native["snapshots"] for disk in one.get("disks", ())):
        for key in ("file", "base"):
            if disk.get(key) == old:
                disk[key] = new


def _external(snapshot: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the disks of a snapshot whose states are images of their own."""
    if snapshot.get("kind") == "internal":
        return []
    return [disk for disk in snapshot.get("disks", ()) if disk.get("base")]


def _take_room(state: Mapping[str, Any], path: str, size: int) -> None:
    directory = state["directories"].get(os.path.dirname(path), {})
    if "free" in directory:
        directory["free"] = max(0, directory["free"] - size)
