# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The result of `vm_snapshot_info`: an entry for each VM, and all of them in one line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.findings import (
    ACT,
    LOOK,
    Finding,
    told,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.info.vm_facts import VmFacts
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.outcome import missing_text
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.merge import as_time
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import Operation, VmId

_DOING = {"take": "Taking", "revert": "Reverting to", "remove": "Removing"}


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

    vm_id: VmId
    facts: VmFacts | KvmError
    missing: bool = False

    def to_result(self) -> dict[str, Any]:
        """Return the VM's entry in ``vms``, with the same keys whatever happened."""
        who = {"vm": self.vm_id.name, "uuid": self.vm_id.uuid}
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


def result(vms: Sequence[VmInfo], filesystems: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """Return the whole result of a task; ``failed`` and ``error_code`` are in it when a VM could not be read."""
    missing = [vm.vm_id.name for vm in vms if vm.missing]
    vms = [vm for vm in vms if not vm.missing]
    whole: dict[str, Any] = {
        "changed": False,
        "msg": _summary(vms) + missing_text(missing),
        "missing": missing,
        "filesystems": filesystems,
        "vms": [vm.to_result() for vm in vms],
    }
    codes = {vm.facts.error_code for vm in vms if isinstance(vm.facts, KvmError)}
    if codes:
        whole.update(failed=True, error_code=codes.pop() if len(codes) == 1 else "several")
    return whole


def _line(facts: VmFacts) -> str:
    deepest = max((len(chain.layers) for chain in facts.storage.chains), default=0)
    line = f"{facts.vm.power}, {_count(len(facts.snapshots), 'snapshot')}"
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
    if operation.seconds_left is not None:
        percent += f", about {as_time(operation.seconds_left)} left"
    later = ". QEMU merges without a task; the next one on this VM finishes the removal" if operation.goes_on else ""
    return f"{_DOING[operation.kind]} {operation.names}{percent}{later}"


def _summary(vms: Sequence[VmInfo]) -> str:
    read = [vm.facts for vm in vms if isinstance(vm.facts, VmFacts)]
    text = f"{_count(len(vms), 'VM')}, {_count(sum(len(facts.snapshots) for facts in read), 'snapshot')}"
    for name, verb in ((ACT, "Act on"), (LOOK, "Look at")):
        meant = [f"{facts.vm.name} ({_counted(facts.findings, name)})" for facts in read if facts.look == name]
        if meant:
            text += f". {verb} {_first(meant, ', ')}"
    failed = [f"{vm.vm_id.name}: {vm.facts.full_message}" for vm in vms if isinstance(vm.facts, KvmError)]
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
