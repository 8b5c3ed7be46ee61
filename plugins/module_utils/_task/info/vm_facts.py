# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of one VM: its snapshots, also as a tree, its chains, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.findings import (
    Finding,
    findings,
    word,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import Snapshot
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.storage import Storage
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import VirtualMachine


@dataclass(frozen=True)
class VmFacts:
    """What is known of one VM; ``snapshots`` are those that were asked for."""

    vm: VirtualMachine
    snapshots: tuple[Snapshot, ...]
    storage: Storage

    @property
    def missing_files(self) -> list[dict[str, str]]:
        """Files that are gone, of any of the VM's snapshots: trouble is not filtered."""
        return [
            {"snapshot": snapshot.name, "file": file}
            for snapshot in self.vm.snapshots
            for file in snapshot.missing_files
        ]

    @property
    def look(self) -> str | None:
        """The one word for it all."""
        return word(self.vm, self.storage)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What there is to act on or to look at, counted."""
        return findings(self.vm, self.storage)

    def to_result(self) -> dict[str, Any]:
        """Return what an entry of ``vms`` holds of a VM that could be read."""
        vm = self.vm
        known = {
            "look": self.look,
            "state": vm.power,
            "persistent": vm.persistent,
            "guest_agent": vm.guest_agent,
            "memory": {
                "can_be_saved": not vm.memory_blockers,
                "blockers": list(vm.memory_blockers),
                "bytes": vm.memory_bytes,
            },
            "operation": vm.operation.to_result() if vm.operation else None,
            "snapshots": [snapshot.to_result() for snapshot in self.snapshots],
            "tree": tree(vm.snapshots, self.snapshots),
            "chains": [chain.to_result() for chain in self.storage.chains],
            "unknown_overlays": list(self.storage.unknown_overlays),
            "orphans": list(self.storage.orphans),
            "missing_files": self.missing_files,
            "problems": list(self.storage.problems),
            "kept": [one.to_result() for one in self.storage.leftovers],
            "definition_changed": list(self.storage.definition_changed),
            "notes": list(self.storage.notes),
        }
        return {**known, **self._untold()}

    def _untold(self) -> dict[str, Any]:
        """Return null for what the hypervisor does not tell of the VM: no list of trouble is not one without any."""
        untold = self.vm.untold
        result: dict[str, Any] = {key: None for key in ("persistent", "guest_agent") if key in untold}
        if "memory" in untold:
            result["memory"] = dict.fromkeys(("can_be_saved", "blockers", "bytes"))
        if "storage" in untold:
            result.update(dict.fromkeys(_OF_STORAGE))
        return result


_OF_STORAGE = ("unknown_overlays", "orphans", "missing_files", "problems", "notes", "kept", "definition_changed")


def tree(snapshots: Sequence[Snapshot], chosen: Sequence[Snapshot]) -> list[dict[str, Any]]:
    """Return the chosen snapshots as a tree, each below the nearest of its ancestors that is chosen too.

    Both are in tree order, a parent before its children, so one pass is enough and siblings keep their order. Children
    are named and not nested: Ansible fails at results of some hundred levels, and chains of snapshots get that long.
    """
    nodes: list[dict[str, Any]] = []
    wanted = {snapshot.name for snapshot in chosen}
    nearest: dict[str | None, dict[str, Any] | None] = {}
    for snapshot in snapshots:
        above = nearest.get(snapshot.parent)
        nearest[snapshot.name] = above
        if snapshot.name in wanted:
            node: dict[str, Any] = {
                "name": snapshot.name,
                "depth": above["depth"] + 1 if above else 0,
                "current": snapshot.told("current"),
                "include_memory": snapshot.told("include_memory"),
                "children": [],
            }
            if above:
                above["children"].append(snapshot.name)
            nodes.append(node)
            nearest[snapshot.name] = node
    return nodes
