# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What may stand in the mock's state file, and what is meant where something is left out. `json_file.py` describes it."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from typing import Any, Union

from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.firmware_states import SWTPM_HOME

STATES = ("running", "paused", "shutoff", "crashed", "pmsuspended")
AGENTS = ("none", "running", "silent", "thaws_early", "stuck")
OPERATIONS = ("take", "revert", "remove")
DEFAULT_SIZE, DEFAULT_VIRTUAL_SIZE = 1 << 30, 20 << 30  # of a disk's image that the file does not describe
_TPM_SIZE = 10 << 10

_Types = Union[type, tuple[type, ...]]
_NUMBER, _TEXT_OR_NULL = (int, float), (str, type(None))
_TOP: dict[str, _Types] = {"vms": list, "files": dict, "directories": dict}
_VM: dict[str, _Types] = {
    "name": str,
    "uuid": str,
    "state": str,
    "persistent": bool,
    "memory_mib": int,
    "agent": str,
    "cpu": dict,
    "firmware": str,
    "nvram": str,
    "tpm": bool,
    "host_devices": list,
    "filesystems": list,
    "disks": list,
    "snapshots": list,
    "current": _TEXT_OR_NULL,
    "overlays": list,
    "former": list,
    "managed_save": bool,
    "operation": (dict, type(None)),
    "slow_seconds": _NUMBER,
}
_OPERATION: dict[str, _Types] = {"kind": str, "snapshot": str, "started_at": str}
_CPU: dict[str, _Types] = {"mode": str, "invtsc": bool, "migratable": bool, "tsc_frequency": int}
_DISK: dict[str, _Types] = {
    "target": str,
    "device": str,
    "type": str,
    "source": _TEXT_OR_NULL,
    "format": str,
    "readonly": bool,
    "shareable": bool,
    "snapshot": str,
    "transient": bool,
    "block_job": bool,
}
_FILESYSTEM: dict[str, _Types] = {"type": str, "target": str}
_SNAPSHOT: dict[str, _Types] = {
    "name": str,
    "description": str,
    "created_at": _TEXT_OR_NULL,
    "parent": _TEXT_OR_NULL,
    "state": str,
    "kind": str,
    "include_memory": bool,
    "quiesced": (bool, type(None)),
    "disks": list,
    "left_out": list,
    "memory_file": _TEXT_OR_NULL,
    "nvram": _TEXT_OR_NULL,
    "tpm": _TEXT_OR_NULL,
    "owned": bool,
    "protected": bool,
    "labels": dict,
    "expires": _TEXT_OR_NULL,
}
_SNAPSHOT_DISK: dict[str, _Types] = {
    "target": str,
    "file": _TEXT_OR_NULL,
    "format": _TEXT_OR_NULL,
    "base": _TEXT_OR_NULL,
}
_LEFT_OUT: dict[str, _Types] = {"target": str, "reason": str}
_FILE: dict[str, _Types] = {
    "format": str,
    "size": int,
    "virtual_size": int,
    "backing_file": _TEXT_OR_NULL,
    "changed": str,
}
_DIRECTORY: dict[str, _Types] = {
    "total": int,
    "free": int,
    "filesystem": str,
    "read_only": bool,
    "missing": bool,
}


def complete(state: Any, where: str) -> dict[str, Any]:
    """Check a state and fill in its defaults; raise `ValueError` naming the place that is wrong."""
    _check(state, _TOP, "the file", required=("vms",))
    state.setdefault("files", {})
    state.setdefault("directories", {})
    for path, entry in state["files"].items():
        if entry is not None:  # null: the file is gone
            _check(entry, _FILE, f"files[{path!r}]", required=("format",))
    for path, entry in state["directories"].items():
        _check(entry, _DIRECTORY, f"directories[{path!r}]")
    for number, vm in enumerate(state["vms"]):
        _complete_vm(vm, f"vms[{number}]", state["files"], where)
    for key in ("name", "uuid"):
        _check_unique((vm[key] for vm in state["vms"]), f"two VMs have the {key}")
    return dict(state)


def _complete_vm(vm: Any, place: str, files: dict[str, Any], where: str) -> None:
    _check(vm, _VM, place, required=("name", "disks"))
    place = f"VM {vm['name']!r}"
    # Of the file too: two hypervisors that were copied from one file have VMs of their own.
    vm.setdefault("uuid", str(uuid.uuid5(uuid.NAMESPACE_URL, f"file://{where}#{vm['name']}")))
    for key, allowed in (("state", STATES), ("agent", AGENTS)):
        if vm.setdefault(key, allowed[0]) not in allowed:
            raise ValueError(f"{place}: {key} is {vm[key]!r}, and must be one of {', '.join(allowed)}")
    for key in ("snapshots", "overlays", "former"):
        vm.setdefault(key, [])
    vm.setdefault("current", None)
    _complete_operation(vm, place)
    _check(vm.get("cpu", {}), _CPU, f"{place}: cpu")
    for filesystem in vm.get("filesystems", []):
        _check(filesystem, _FILESYSTEM, f"{place}: filesystems", required=("type",))
    for disk in vm["disks"]:
        _check(disk, _DISK, f"{place}: disks", required=("target",))
        disk.setdefault("format", "qcow2" if disk.get("device", "disk") == "disk" else "raw")
        if disk.get("source") and disk.get("type", "file") in ("file", "block"):
            files.setdefault(disk["source"], {"format": disk["format"]})
    roots = {disk["target"]: _root(files, disk.get("source")) for disk in vm["disks"]}
    _complete_tpm(vm, files)
    for snapshot in vm["snapshots"]:
        _complete_snapshot(snapshot, place, files, roots)
    names = [snapshot["name"] for snapshot in vm["snapshots"]]
    _check_unique(names, f"{place}: two snapshots have the name")
    _check_unique((disk["target"] for disk in vm["disks"]), f"{place}: two disks have the target")
    for name in (vm["current"], *(snapshot.get("parent") for snapshot in vm["snapshots"])):
        if name is not None and name not in names:
            raise ValueError(f"{place} has no snapshot {name!r}, which its current or a parent names")


def _complete_tpm(vm: Mapping[str, Any], files: dict[str, Any]) -> None:
    """Have what a TPM keeps be there, as if the VM was started once, unless its file is said to be gone."""
    if vm.get("tpm"):
        files.setdefault(f"{SWTPM_HOME}/{vm['uuid']}/tpm2/tpm2-00.permall", {"format": "raw", "size": _TPM_SIZE})


def _complete_operation(vm: dict[str, Any], place: str) -> None:
    operation = vm.setdefault("operation", None)
    if operation is None:
        return
    _check(operation, _OPERATION, f"{place}: operation", required=_OPERATION)
    if operation["kind"] not in OPERATIONS:
        raise ValueError(f"{place}: operation is a {operation['kind']!r}, and must be one of {', '.join(OPERATIONS)}")


def _complete_snapshot(snapshot: Any, place: str, files: Mapping[str, Any], roots: Mapping[str, Any]) -> None:
    """Check a snapshot; where it does not say so, its state is what its overlay is backed by, or is in the VM's image."""
    _check(snapshot, _SNAPSHOT, f"{place}: snapshots", required=("name",))
    for disk in snapshot.get("disks", []):
        _check(disk, _SNAPSHOT_DISK, f"{place}: disks of a snapshot", required=("target",))
        below = (files.get(disk.get("file")) or {}).get("backing_file")
        disk.setdefault("base", roots.get(disk["target"]) if snapshot.get("kind") == "internal" else below)
    for part in snapshot.get("left_out", []):
        _check(part, _LEFT_OUT, f"{place}: left_out of a snapshot", required=("target", "reason"))


def _root(files: Mapping[str, Any], source: str | None) -> str | None:
    passed = {source}
    while source is not None and (below := (files.get(source) or {}).get("backing_file")) not in (None, *passed):
        passed.add(below)
        source = below
    return source


def _check(value: Any, known: Mapping[str, _Types], place: str, required: Iterable[str] = ()) -> None:
    if not isinstance(value, dict):
        raise ValueError(f"{place} is not an object")
    for key in required:
        if key not in value:
            raise ValueError(f"{place} has no {key!r}")
    for key, entry in value.items():
        if key not in known:
            raise ValueError(f"{place} has the unknown key {key!r}; known are {', '.join(known)}")
        # In Python a bool is an int; in this file a number is none.
        if not isinstance(entry, known[key]) or (isinstance(entry, bool) and known[key] in (int, _NUMBER)):
            raise ValueError(f"{place}: {key} has a value of the wrong type")


def _check_unique(values: Iterable[str], message: str) -> None:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise ValueError(f"{message} {value!r}")
        seen.add(value)
