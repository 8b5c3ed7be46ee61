# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""State ``present``: decide for every VM, refuse what must not begin, then take the snapshots that are missing."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Union

from ansible_collections.limiquantix.kvm.plugins.module_utils._deadline import Deadline
from ansible_collections.limiquantix.kvm.plugins.module_utils._decide import (
    decide_freeze,
    existing_snapshot,
    resolve_memory,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._fleet import Fleet
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor import Hypervisor
from ansible_collections.limiquantix.kvm.plugins.module_utils._names import check_snapshot_name
from ansible_collections.limiquantix.kvm.plugins.module_utils._outcome import VmOutcome
from ansible_collections.limiquantix.kvm.plugins.module_utils._room import without_room
from ansible_collections.limiquantix.kvm.plugins.module_utils._selection import select
from ansible_collections.limiquantix.kvm.plugins.module_utils._snapshot import (
    DomainId,
    Snapshot,
    SnapshotPlan,
    SnapshotRequest,
    Taken,
    VirtualMachine,
)


@dataclass(frozen=True)
class Limits:
    """How much at once, how long for one VM (seconds), and which VMs are left alone."""

    parallel: int = 4
    timeout: int = 600
    running_only: bool = False


@dataclass(frozen=True)
class _Nothing:
    """Nothing to do for this VM, and why."""

    vm: VirtualMachine
    msg: str
    snapshot: Snapshot | None = None


_Decision = Union[SnapshotPlan, _Nothing]


def present(
    hypervisor: Hypervisor,
    patterns: Sequence[str],
    request: SnapshotRequest,
    limits: Limits,
    check_mode: bool,
) -> list[VmOutcome]:
    """Make the snapshot exist on every selected VM; raise only what is wrong with the task as a whole.

    Everything that can be refused is refused before the first VM is touched.
    """
    check_snapshot_name(request.name)
    _check_overlay_dir(request.overlay_dir)
    domains = select(hypervisor.domains(), patterns)
    fleet = Fleet(hypervisor, limits.parallel, limits.timeout)
    try:
        decisions = fleet.each(domains, partial(_decide, request=request, limits=limits))
        refused = without_room(hypervisor, [plan for plan in decisions if isinstance(plan, SnapshotPlan)])
        settled = [refused.get(domain.uuid, decision) for domain, decision in zip(domains, decisions)]
        act = _predict if check_mode else partial(_act, request=request, limits=limits)
        outcomes = fleet.each(list(zip(domains, settled)), act)
    finally:
        fleet.close()
    return [
        _failure(domain, result) if isinstance(result, KvmError) else result
        for domain, result in zip(domains, outcomes)
    ]


def _check_overlay_dir(overlay_dir: str | None) -> None:
    if overlay_dir is not None and not os.path.isabs(overlay_dir):
        remedy = "Nothing was changed. Name the directory from the root on."
        raise KvmError("overlay_dir_unusable", f"overlay_dir is {overlay_dir!r}, which is no absolute path.", remedy)


def _decide(hypervisor: Hypervisor, domain: DomainId, request: SnapshotRequest, limits: Limits) -> _Decision:
    vm = hypervisor.inspect(domain)
    if limits.running_only and vm.state != "running":
        return _Nothing(vm, f"left alone: {vm.state}")
    existing = existing_snapshot(vm, request)
    if existing:
        return _Nothing(vm, f"snapshot {request.name!r} is there already", existing)
    resolved, memory_notes = resolve_memory(vm, request)
    freeze, freeze_notes = decide_freeze(vm, resolved)
    plan = hypervisor.plan(vm, resolved)
    # Whether a freeze will succeed is not known beforehand; that there will be none is.
    predicted = replace(plan.snapshot, quiesced=None if freeze else False)
    return replace(plan, freeze=freeze, notes=memory_notes + freeze_notes + plan.notes, snapshot=predicted)


def _predict(_hypervisor: Hypervisor, item: tuple[DomainId, _Decision | KvmError]) -> VmOutcome:
    domain, decision = item
    if isinstance(decision, SnapshotPlan):
        return _taken(decision, Taken(decision.snapshot, decision.notes), "would be taken")
    return _settled(domain, decision)


def _act(
    hypervisor: Hypervisor, item: tuple[DomainId, _Decision | KvmError], request: SnapshotRequest, limits: Limits
) -> VmOutcome:
    domain, decision = item
    if not isinstance(decision, SnapshotPlan):
        return _settled(domain, decision)
    deadline = Deadline(limits.timeout)
    with hypervisor.lock(domain, deadline):
        # Another run may have had the lock since the first decision: only what is decided under it counts.
        decision = _decide(hypervisor, domain, request, limits)
        if isinstance(decision, _Nothing):
            return _settled(domain, decision)
        try:
            return _taken(decision, hypervisor.take(decision, deadline), "taken")
        except KvmError as error:
            return _failure(domain, error, decision, _now(hypervisor, domain))


def _now(hypervisor: Hypervisor, domain: DomainId) -> VirtualMachine | None:
    """Return the VM after a failure; None where that cannot be told, which must not hide the failure itself."""
    try:
        return hypervisor.inspect(domain)
    except KvmError:
        return None


def _settled(domain: DomainId, decision: _Nothing | KvmError) -> VmOutcome:
    if isinstance(decision, KvmError):
        return _failure(domain, decision)
    return VmOutcome(domain, decision.vm.snapshots, decision.vm.snapshots, decision.snapshot, decision.msg)


def _taken(plan: SnapshotPlan, taken: Taken, word: str) -> VmOutcome:
    before = plan.vm.snapshots
    kind = "with memory" if taken.snapshot.include_memory else "disk-only"
    if taken.snapshot.quiesced:
        kind += ", quiesced"
    return VmOutcome(
        domain=plan.vm.id,
        before=before,
        after=(*(replace(snapshot, current=False) for snapshot in before), taken.snapshot),
        snapshot=taken.snapshot,
        msg=". ".join((f"snapshot {plan.request.name!r} {word} ({kind})", *taken.notes)),
        notes=taken.notes,
    )


def _failure(
    domain: DomainId, error: KvmError, plan: SnapshotPlan | None = None, now: VirtualMachine | None = None
) -> VmOutcome:
    """A VM that failed; with ``plan`` and ``now`` where it may have changed all the same."""
    return VmOutcome(
        domain=domain,
        before=plan.vm.snapshots if plan and now else (),
        after=now.snapshots if now else (),
        snapshot=now.find(plan.request.name) if plan and now else None,
        msg=error.full_message,
        error=error,
    )
