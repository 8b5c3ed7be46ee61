# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's JSON, as values: what it tells is checked, and what it does not tell is named as such."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import Snapshot, in_tree_order
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import VirtualMachine, VmId

_STATES = {
    "RUNNING": "running",
    "STOPPED": "shutoff",
    "PAUSED": "paused",
    "SUSPENDED": "pmsuspended",
    "CRASHED": "crashed",
}
# `createdAt` and `vmState` are there, but deployed agents make them up when they are asked.
_NEVER_TOLD = (
    "created_at",
    "current",
    "state",
    "kind",
    "quiesced",
    "disks",
    "left_out",
    "memory_file",
    "nvram",
    "tpm",
    "missing_files",
    "owned",
    "protected",
    "labels",
    "expires",
    "past",
    "past_reasons",
)


@dataclass(frozen=True)
class Listed:
    """A snapshot in the agent's list; ``id`` is what its paths want."""

    id: str
    name: str
    description: str
    parent_id: Optional[str]


def read_vms(answer: dict[str, Any]) -> tuple[VirtualMachine, ...]:
    """Return the VMs of a ``/vms``, without their snapshots, sorted by name. Raises ``agent_bad_answer``."""
    found = [_vm(entry) for entry in _entries(answer, "vms")]
    return tuple(sorted(found, key=lambda vm: vm.name))


def _vm(entry: dict[str, Any]) -> VirtualMachine:
    agent = entry.get("guestAgent")
    if isinstance(agent, dict):
        agent = agent.get("connected")
    known = isinstance(agent, bool)
    return VirtualMachine(
        id=VmId(_text(entry, "name", "vms"), _text(entry, "vmId", "vms")),
        power=_STATES.get(str(entry.get("state")).upper(), "unknown"),
        guest_agent=agent is True,
        untold=("persistent", "memory", "storage", *(() if known else ("guest_agent",))),
    )


def read_snapshots(answer: dict[str, Any]) -> tuple[Listed, ...]:
    """Return the snapshots of a ``/vms/…/snapshots``. Raises ``agent_bad_answer``."""
    return tuple(_listed(entry) for entry in _entries(answer, "snapshots"))


def _listed(entry: dict[str, Any]) -> Listed:
    name = _text(entry, "name", "snapshots")
    parent = entry.get("parentId")
    return Listed(
        id=_text(entry, "snapshotId", "snapshots") if entry.get("snapshotId") else name,
        name=name,
        description=str(entry.get("description") or ""),
        parent_id=parent if isinstance(parent, str) and parent else None,
    )


def as_snapshots(listed: Sequence[Listed]) -> tuple[Snapshot, ...]:
    """Return our values of a list, in tree order as far as the agent tells parents."""
    names = {one.id: one.name for one in listed}
    found = [
        Snapshot(
            name=one.name,
            description=one.description,
            parent=names.get(one.parent_id) if one.parent_id else None,
            untold=untold(one.description, "include_memory"),
        )
        for one in listed
    ]
    # The list's own order is all there is to tell siblings by.
    return in_tree_order(found) if any(one.parent for one in found) else tuple(found)


def untold(description: str, *more: str) -> tuple[str, ...]:
    """Return what is not known of a snapshot; an empty description may be one that the agent has not kept."""
    return (*_NEVER_TOLD, *(() if description else ("description",)), *more)


def knowing(snapshot: Snapshot, include_memory: bool, quiesced: Optional[bool]) -> Snapshot:
    """Return a snapshot with what is known of it because it is we who have it taken; ``quiesced`` None: not known."""
    told = tuple(key for key in snapshot.untold if key not in ("include_memory", "quiesced"))
    return replace(snapshot, include_memory=include_memory, quiesced=quiesced, untold=told)


def _entries(answer: dict[str, Any], key: str) -> list[dict[str, Any]]:
    entries = answer.get(key)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise _bad(f"it has no list '{key}'")
    return entries


def _text(entry: dict[str, Any], key: str, where: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not value:
        raise _bad(f"an entry of '{where}' has no text '{key}'")
    return value


def _bad(what: str) -> KvmError:
    remedy = "Check that url is the address of qx-node, and that its version and this collection's fit together."
    return KvmError("agent_bad_answer", f"The answer of qx-node does not fit its API: {what}.", remedy)
