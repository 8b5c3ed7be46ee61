# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The mock's disks: which image is backed by which, and what nothing knows."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.mock.json_format import (
    DEFAULT_SIZE,
    DEFAULT_VIRTUAL_SIZE,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.image_changes import (
    CHANGED,
    Past,
    changed_by_others,
    inside,
    spoilt,
    together,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import Snapshot
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.storage import (
    ChainLayer,
    DiskChain,
    FileSystem,
    Storage,
)

PLENTY = 1 << 40
Files = Mapping[str, Any]


def chain_files(files: Files, source: str) -> list[str]:
    """Return an image and all it is backed by, active layer first; raise `ValueError` where one is missing."""
    chain: list[str] = []
    following: str | None = source
    while following is not None:
        if files.get(following) is None:
            raise ValueError(f"{following} is missing")
        if following in chain:
            raise ValueError(f"{following} is backed by itself")
        chain.append(following)
        following = files[following].get("backing_file")
    return chain


def past_of(entry: Mapping[str, Any], files: Files) -> Past:
    """Return what is known of the past of a snapshot: no file is as it was that others changed after it was taken."""
    bases = [str(disk["base"]) for disk in entry.get("disks", ()) if disk.get("base")]
    if entry.get("kind") == "internal":
        return together((base, inside()) for base in bases)
    beside = [file for file in (entry.get("memory_file"), entry.get("nvram"), entry.get("tpm")) if file]
    held = dict.fromkeys([*beside, *(file for base in bases for file in _readable_chain(files, base))])
    changed = {file: (files.get(file) or {}).get("changed", "") for file in held}
    taken = entry.get("created_at") or ""
    return together(
        (file, Past(CHANGED, (changed_by_others(date),))) for file, date in changed.items() if date and date > taken
    )


def storage(state: Mapping[str, Any], vm: Mapping[str, Any], snapshots: Sequence[Snapshot]) -> Storage:
    """Return the chains of a VM's disks, overlays in or on them that nothing knows, and chains that are broken."""
    files: Files = state["files"]
    owners = {str(disk.file): snapshot.name for snapshot in snapshots for disk in snapshot.disks if disk.file}
    shown = [
        disk
        for disk in vm["disks"]
        if disk.get("source") and disk.get("device", "disk") in ("disk", "lun") and disk.get("type") != "network"
    ]
    chains = {disk["target"]: _readable_chain(files, disk["source"]) for disk in shown}
    layers = {file: None for chain in chains.values() for file in chain}
    known = {*owners, *vm["overlays"]}
    unknown = [file for file in layers if files[file].get("backing_file") and file not in known]
    orphans = tuple(sorted(_orphans(state, {*layers, *known})))
    return Storage(
        chains=tuple(
            DiskChain(target, tuple(_layer(files, file, owners) for file in chain), _is_whole(files, chain))
            for target, chain in chains.items()
        ),
        unknown_overlays=(*unknown, *orphans),
        orphans=orphans,
        problems=(*_problems(files, shown), *spoilt((one.name, one.past, one.past_reasons) for one in snapshots)),
    )


def filesystems(directories: Mapping[str, Any], files: Iterable[str]) -> tuple[FileSystem, ...]:
    """Return the file systems that hold files, as ``directories`` of the state tells of them."""
    held: dict[str, list[str]] = {}
    about: dict[str, Mapping[str, Any]] = {}
    for file in sorted(file for file in files if file.startswith("/") and not file.startswith("/dev/")):
        directory = os.path.dirname(file)
        known = directories.get(directory) or {}
        path = known.get("filesystem", directory)
        held.setdefault(path, []).append(file)
        about.setdefault(path, known)
    rooms = {path: known.get("total", PLENTY) for path, known in about.items()}
    return tuple(
        FileSystem(path, rooms[path], about[path].get("free", rooms[path]), tuple(held[path])) for path in sorted(held)
    )


def _orphans(state: Mapping[str, Any], own: set[str]) -> Iterator[str]:
    """Give overlays on a VM's images that no VM and no snapshot needs."""
    files: Files = state["files"]
    disks = [disk for vm in state["vms"] for disk in vm["disks"]]
    noted = [disk for vm in state["vms"] for one in vm["snapshots"] for disk in one.get("disks", ())]
    tops = [disk.get("source") for disk in disks]
    tops += [disk.get(key) for disk in noted for key in ("file", "base")]
    tops += [file for vm in state["vms"] for file in vm["overlays"]]
    used = {file for top in tops if top for file in _readable_chain(files, top)}
    return (file for file in files if file not in used and own.intersection(_readable_chain(files, file)[1:]))


def _problems(files: Files, shown: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for disk in shown:
        try:
            chain_files(files, disk["source"])
        except ValueError as error:
            yield f"disk {disk['target']}: its backing chain cannot be read: {error}"


def _readable_chain(files: Files, source: str) -> list[str]:
    chain: list[str] = []
    following: str | None = source
    while following is not None and following not in chain and files.get(following) is not None:
        chain.append(following)
        following = files[following].get("backing_file")
    return chain


def _is_whole(files: Files, chain: Sequence[str]) -> bool:
    return bool(chain) and files[chain[-1]].get("backing_file") is None


def _layer(files: Files, file: str, owners: Mapping[str, str]) -> ChainLayer:
    entry = files[file]
    return ChainLayer(
        file=file,
        format=entry["format"],
        size=entry.get("size", DEFAULT_SIZE),
        virtual_size=entry.get("virtual_size", DEFAULT_VIRTUAL_SIZE),
        snapshot=owners.get(file),
    )
