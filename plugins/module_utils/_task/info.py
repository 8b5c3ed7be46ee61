# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is there: of every VM its snapshots, its backing chains and what is wrong with them. Reads only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.contract import Hypervisor
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.look import (
    ACT,
    LOOK,
    Finding,
    findings,
    told,
    word,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.names import name_matches
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.refusals import vm_gone
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.fleet import Fleet
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.outcome import missing_text
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.selection import Selection, select
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import Snapshot
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.storage import Storage
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import DomainId, Operation, VirtualMachine

_DOING = {"take": "Taking", "revert": "Reverting to", "remove": "Removing"}


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
            "state": vm.state,
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
_NOTHING_KNOWN: dict[str, Any] = {
    "look": ACT,  # no task on it would get any further
    "state": None,
    "persistent": None,
    "guest_agent": None,
    "memory": None,
    "operation": None,
    "snapshots": [],
    "tree": [],
    "chains": [],
    "unknown_overlays": [],
    "orphans": [],
    "missing_files": [],
    "problems": [],
    "kept": [],
    "definition_changed": [],
    "notes": [],
}


@dataclass(frozen=True)
class VmInfo:
    """One VM of the task: its facts, or why they could not be read; ``missing`` where it is not here, and need not be."""

    domain: DomainId
    facts: VmFacts | KvmError
    missing: bool = False

    def to_result(self) -> dict[str, Any]:
        """Return the VM's entry in ``vms``, with the same keys whatever happened."""
        who = {"vm": self.domain.name, "uuid": self.domain.uuid}
        facts = self.facts
        if isinstance(facts, KvmError):
            return {
                **who,
                "failed": True,
                "error_code": facts.error_code,
                "details": facts.details,
                "msg": facts.full_message,
                **_NOTHING_KNOWN,
            }
        return {
            **who,
            "failed": False,
            "error_code": None,
            "details": {},
            "msg": _line(facts),
            **facts.to_result(),
        }


def gather(
    hypervisor: Hypervisor,
    patterns: Sequence[str] | None,
    names: Sequence[str] | None,
    parallel: int,
    timeout: int,
    *,
    missing: str = "fail",
) -> list[VmInfo]:
    """Read every selected VM (None: all there are) and of its snapshots those that ``names`` match (None: all).

    Where VMs may be missing (``skip``), those are among what is returned.
    """
    meant = _meant(hypervisor, patterns, missing)
    fleet = Fleet(hypervisor, parallel, timeout)
    try:
        found = fleet.each(meant.domains, partial(_read, names=names))
    finally:
        fleet.close()
    # Of all VMs there are, one that has just gone away is none.
    may_go = missing == "skip" or patterns is None
    read = [VmInfo(domain, facts, may_go and _is_gone(facts)) for domain, facts in zip(meant.domains, found)]
    return [*read, *(VmInfo(DomainId(name, ""), vm_gone(name), True) for name in meant.missing)]


def _meant(hypervisor: Hypervisor, patterns: Sequence[str] | None, missing: str) -> Selection:
    if patterns is not None and not patterns:
        return Selection(())
    domains = hypervisor.domains()
    return Selection(tuple(domains)) if patterns is None else select(domains, patterns, missing)


def _is_gone(facts: VmFacts | KvmError) -> bool:
    return isinstance(facts, KvmError) and facts.error_code == "vm_not_found"


def _read(hypervisor: Hypervisor, domain: DomainId, names: Sequence[str] | None) -> VmFacts:
    vm = hypervisor.inspect(domain)
    chosen = tuple(one for one in vm.snapshots if names is None or name_matches(one.name, names))
    return VmFacts(vm, chosen, hypervisor.storage(vm))


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


def result(vms: Sequence[VmInfo]) -> dict[str, Any]:
    """Return the whole result of a task; ``failed`` and ``error_code`` are in it when a VM could not be read."""
    missing = [vm.domain.name for vm in vms if vm.missing]
    vms = [vm for vm in vms if not vm.missing]
    whole: dict[str, Any] = {
        "changed": False,
        "msg": _summary(vms) + missing_text(missing),
        "missing": missing,
        "vms": [vm.to_result() for vm in vms],
    }
    codes = {vm.facts.error_code for vm in vms if isinstance(vm.facts, KvmError)}
    if codes:
        whole.update(failed=True, error_code=codes.pop() if len(codes) == 1 else "several")
    return whole


def _line(facts: VmFacts) -> str:
    deepest = max((len(chain.layers) for chain in facts.storage.chains), default=0)
    line = f"{facts.vm.state}, {_count(len(facts.snapshots), 'snapshot')}"
    if "storage" not in facts.vm.untold:
        line += f", deepest chain {_count(deepest, 'layer')}"
    if facts.vm.operation:
        line += f". {_at_work(facts.vm.operation)}"
    line = ". ".join(filter(None, (line, told(facts.findings))))
    return f"{facts.look}: {line}" if facts.look else line


def _at_work(operation: Operation) -> str:
    if operation.interrupted:
        return (
            f"The {operation} that began at {operation.started_at} was interrupted: the next run of vm_snapshot or "
            "vm_snapshot_prune on this VM finishes or undoes it first"
        )
    percent = "" if operation.percent is None else f", {operation.percent} %"
    return f"{_DOING[operation.kind]} snapshot {operation.snapshot!r}{percent}"


def _summary(vms: Sequence[VmInfo]) -> str:
    read = [vm.facts for vm in vms if isinstance(vm.facts, VmFacts)]
    text = f"{_count(len(vms), 'VM')}, {_count(sum(len(facts.snapshots) for facts in read), 'snapshot')}"
    for name, verb in ((ACT, "Act on"), (LOOK, "Look at")):
        meant = [f"{facts.vm.name} ({_counted(facts.findings, name)})" for facts in read if facts.look == name]
        if meant:
            text += f". {verb} {_first(meant, ', ')}"
    failed = [f"{vm.domain.name}: {vm.facts.full_message}" for vm in vms if isinstance(vm.facts, KvmError)]
    if failed:
        text += f". {len(failed)} FAILED. {_first(failed, ' ')}"
    return text


def _counted(found: Sequence[Finding], name: str) -> str:
    return ", ".join(str(finding) for finding in found if finding.word == name)


def _first(texts: Sequence[str], separator: str) -> str:
    more = f" and {len(texts) - 3} more, see vms" if len(texts) > 3 else ""
    return separator.join(texts[:3]) + more


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
