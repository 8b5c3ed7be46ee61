# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs where the hypervisor is, under that host's own Python, and does what a test asks: a JSON line each way.

`ansible` would take two seconds a step. What is left out of the path is the module's argument parsing only.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any, Callable, Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.contract import Hypervisor
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.directories import (
    record_directory,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.meeting import boot_id, boot_time
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.open import open_hypervisor
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.journal import from_json, now
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.vm_record import Records
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.retention import Retention
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.action import Action
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.group.steps import group_step
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.info.filesystems import filesystems
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.info.read_vms import gather
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.info.result import result as info_result
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.outcome import VmOutcome, Wording, outcome
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.prune import Prune
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.prune import result as prune_result
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.remove import Absent, carrying, every, named
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.revert import Reverted
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.run import Limits, run
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.take import Present
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.deadline import Deadline
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.request import RevertRequest, SnapshotRequest
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import VmId

_HELD: list[tuple[Hypervisor, AbstractContextManager[None]]] = []


def snapshot(where: dict[str, Any], vms: list[str], check: bool, limits: dict[str, Any], **wish: Any) -> dict[str, Any]:
    """Do what vm_snapshot does with state present, and return what it would."""
    if wish.get("disks") is not None:
        wish["disks"] = tuple(wish["disks"])
    request = SnapshotRequest(**wish)
    wording = Wording(f"snapshot {request.name!r}", "taken", request.disk_only)
    return _run(
        {**where, **wish, "quiesce_timeout": request.quiesce_timeout},
        vms,
        Present(request),
        wording,
        check=check,
        limits=limits,
    )


def revert(where: dict[str, Any], vms: list[str], check: bool, limits: dict[str, Any], **wish: Any) -> dict[str, Any]:
    """Do what it does with state reverted."""
    request = RevertRequest(**wish)
    wording = Wording(f"revert to snapshot {request.name!r}", "reverted")
    return _run({**where, **wish}, vms, Reverted(request), wording, check=check, limits=limits)


def remove(
    where: dict[str, Any],
    vms: list[str],
    check: bool,
    limits: dict[str, Any],
    *,
    name: str = "",
    children: bool = False,
    all_snapshots: bool = False,
    bandwidth: int = 0,
    labels: Optional[dict[str, str]] = None,
    apparmor: str = "respect",
) -> dict[str, Any]:
    """Do what it does with state absent."""
    action = Absent(
        (carrying(labels) if labels else every) if all_snapshots else named(name, children, labels), bandwidth
    )
    return _run(
        {**where, "children": children, "bandwidth": bandwidth, "labels": labels, "apparmor": apparmor},
        vms,
        action,
        Wording("removal", "removed"),
        check=check,
        limits=limits,
    )


def prune(
    where: dict[str, Any], vms: list[str], check: bool, limits: dict[str, Any], *, at: str = "", **wish: Any
) -> dict[str, Any]:
    """Do what vm_snapshot_prune does, as if it was ``at`` that time."""
    wish = {key: tuple(value) if isinstance(value, list) else value for key, value in wish.items()}
    now = datetime.fromisoformat(at) if at else datetime.now(timezone.utc)
    action = Prune(Retention(**wish), now)
    return prune_result(_done(where, vms, action, check, Limits(**limits)), check)


def group(
    where: dict[str, Any],
    vms: list[str],
    check: bool,
    limits: dict[str, Any],
    *,
    name: str = "",
    since: float = 0,
    quiesce: str = "auto",
    **appointment: Any,
) -> dict[str, Any]:
    """Do what vm_snapshot does for a group's members on one host; the times are seconds from ``since``, or from now on."""
    moments = dict.fromkeys(("begin", "cut", "release", "hard_end"), 0.0)
    soon = {key: (since or boot_time()) + appointment.pop(key) for key in moments if key in appointment}
    nothing = {"group": "g1", "members": [], "late": False, "boot_id": boot_id()}
    asked = {"appointment": {**nothing, **moments, **appointment, **soon}}
    with open_hypervisor({**where, "parallel": 1, "timeout": 60}) as hypervisor:
        named_here = {vm.name: vm.uuid for vm in hypervisor.vms()}
    uuids = [named_here[vm] for vm in vms]
    asked["appointment"]["members"] = asked["appointment"]["members"] or uuids
    given = {"vms": uuids, "parallel": 4, "timeout": 60, **limits, **asked}
    step = group_step(given, SnapshotRequest(name, quiesce=quiesce))
    found = _done({**where, **asked}, uuids, step.action, check or step.only_looks, step.limits)
    return {**outcome(step.wording, found, check), "group": step.to_result(asked["appointment"]["group"])}


def _run(
    where: dict[str, Any], vms: list[str], action: Action[Any], wording: Wording, *, check: bool, limits: dict[str, Any]
) -> dict[str, Any]:
    return outcome(wording, _done(where, vms, action, check, Limits(**limits)), check)


def _done(where: dict[str, Any], vms: list[str], action: Action[Any], check: bool, limits: Limits) -> list[VmOutcome]:
    params = {"quiesce_timeout": 30, **where, "parallel": limits.parallel, "timeout": limits.timeout}
    with open_hypervisor(params) as hypervisor:
        return run(hypervisor, vms, action, limits, check)


def info(
    where: dict[str, Any], vms: list[str], missing: str = "fail", labels: Optional[dict[str, str]] = None
) -> dict[str, Any]:
    """Do what vm_snapshot_info does."""
    with open_hypervisor({**where, "parallel": 4, "timeout": 60, "labels": labels}) as hypervisor:
        found = gather(hypervisor, vms, None, 4, 60, missing=missing, labels=labels)
        return info_result(found, filesystems(hypervisor, found))


def hold(where: dict[str, Any], vm: str) -> dict[str, Any]:
    """Take a VM's lock, as another run would, and keep it."""
    hypervisor = open_hypervisor({**where, "parallel": 1, "timeout": 1})
    lock = hypervisor.lock(_named(hypervisor, vm), Deadline(1))
    lock.__enter__()
    _HELD.append((hypervisor, lock))
    return {}


def plant(where: dict[str, Any], vm: str, **journal: Any) -> dict[str, Any]:
    """Write down what a run of the libvirt backend does before its first step, as if it had been killed after that."""
    with open_hypervisor({**where, "parallel": 1, "timeout": 60}) as hypervisor:
        domain = _named(hypervisor, vm)
        found = hypervisor.inspect(domain).find(journal["snapshot"])
    records = Records(record_directory(where["uri"]))
    record = records.read(domain)
    if found and journal["kind"] == "remove":
        states = [os.path.realpath(disk.base) for disk in found.disks if disk.base]
        overlays = [os.path.realpath(disk.file) for disk in found.disks if disk.file]
        record = replace(record, former=(*record.former, *states), overlays=(*record.overlays, *overlays))
        journal["files"] = (found.memory_file,) if found.memory_file else ()
    noted = from_json({**journal, "created_at": found.created_at if found else None, "started_at": now()})
    records.write(domain, replace(record, journal=noted))
    return {}


def _named(hypervisor: Hypervisor, vm: str) -> VmId:
    return next(domain for domain in hypervisor.vms() if domain.name == vm)


def main() -> None:
    """Answer until the end of the input."""
    calls: dict[str, Callable[..., dict[str, Any]]] = {
        "snapshot": snapshot,
        "revert": revert,
        "remove": remove,
        "prune": prune,
        "info": info,
        "group": group,
        "hold": hold,
        "plant": plant,
    }
    for line in sys.stdin:
        call = json.loads(line)
        try:
            answer = calls[call.pop("call")](**call)
        except KvmError as error:
            answer = {"changed": False, "failed": True, "vms": [], **error.to_failure()}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
