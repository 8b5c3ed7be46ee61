# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A task over many VMs: decide for every VM, refuse what must not begin, then act on each under its lock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Optional, Union

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.contract import Hypervisor
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.refusals import vm_gone
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.action import Action, Nothing, Plan, Wish
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.outcome import VmOutcome, failed_vm, missing_vm
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.parallel_vms import Fleet
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.selection import select
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.deadline import Deadline
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.merge import MergeGoesOnError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.plan import Recovery
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import VirtualMachine, VmId


@dataclass(frozen=True)
class Limits:
    """How much at once, how long for one VM (seconds), which VMs are left alone, and what one that is not here is."""

    parallel: int = 4
    timeout: int = 600
    running_only: bool = False
    missing: str = "fail"


@dataclass(frozen=True)
class _Pending:
    """A run is or was just at work on this VM, or was interrupted: what there is to do shows when that has come to its end."""

    vm: VirtualMachine


@dataclass(frozen=True)
class _Refused:
    """What is wanted of this VM cannot be done."""

    vm: VirtualMachine
    error: KvmError


@dataclass(frozen=True)
class _Unplanned:
    """There may be something to do for this VM: what that is is planned under its lock."""


_Decision = Union[Plan, Nothing, _Refused, _Pending, _Unplanned, KvmError]


_UNCHANGED, _UNCHANGED_SINCE = "Nothing was changed", "Nothing else was changed"
_NO_PLAN = (Nothing, _Refused, _Pending, _Unplanned, KvmError)


def run(
    hypervisor: Hypervisor, patterns: Sequence[str], action: Action[Wish, Plan], limits: Limits, check_mode: bool
) -> list[VmOutcome]:
    """Return what became of every selected VM; raise only what is wrong with the task as a whole.

    Where ``limits`` let VMs be missing, those are among what is returned.
    """
    meant = select(hypervisor.vms(), patterns, limits.missing)
    vm_ids = meant.vm_ids
    fleet = Fleet(hypervisor, limits.parallel, limits.timeout)
    try:
        decisions: Sequence[_Decision[Plan]] = [_Unplanned()] * len(vm_ids)
        if check_mode or hypervisor.adds_up:
            decisions = fleet.each(vm_ids, partial(_decide, action=action, limits=limits, check_mode=check_mode))
        plans = [one for one in decisions if not isinstance(one, _NO_PLAN)]
        refused = action.refuse(hypervisor, plans)
        settled = [refused.get(vm_id.uuid, decision) for vm_id, decision in zip(vm_ids, decisions)]
        work = partial(_predict if check_mode else _act, action=action, limits=limits)
        outcomes = fleet.each(list(zip(vm_ids, settled)), work)
    finally:
        fleet.close()
    became = [
        failed_vm(vm_id, result) if isinstance(result, KvmError) else result for vm_id, result in zip(vm_ids, outcomes)
    ]
    return [*became, *(missing_vm(name) for name in meant.missing)]


def _decide(
    hypervisor: Hypervisor, vm_id: VmId, action: Action[Wish, Plan], limits: Limits, check_mode: bool
) -> Union[Plan, Nothing, _Refused, _Pending, _Unplanned]:
    vm = _look(hypervisor, vm_id)
    if vm.operation and not _left_alone(vm, limits):
        return _Pending(vm)
    try:
        wish = _wish(vm, action, limits)
        if isinstance(wish, Nothing):
            return wish
        return action.plan(hypervisor, vm, wish) if check_mode or action.plans_ahead(vm, wish) else _Unplanned()
    except KvmError as error:
        now = _now(hypervisor, vm_id)
        if now is None:
            raise
        if now.operation or _taken(now) != _taken(vm):  # what was refused was half of another run's work
            return _Pending(now)
        return _Refused(vm, error)


def _look(hypervisor: Hypervisor, vm_id: VmId) -> VirtualMachine:
    """Read a VM. Raises ``vm_not_found`` where it went away, or has another name than the task selected it by."""
    vm = hypervisor.inspect(vm_id)
    if vm.name != vm_id.name:
        raise vm_gone(vm_id.name, f"somebody renamed it to {vm.name}")
    return vm


def _taken(vm: VirtualMachine) -> list[tuple[str, Optional[str]]]:
    return [(one.name, one.created_at) for one in vm.snapshots]


def _left_alone(vm: VirtualMachine, limits: Limits) -> bool:
    return limits.running_only and vm.power != "running"


def _wish(vm: VirtualMachine, action: Action[Wish, Plan], limits: Limits) -> Union[Wish, Nothing]:
    return Nothing(vm, f"left alone: {vm.power}") if _left_alone(vm, limits) else action.decide(vm)


def _predict(
    hypervisor: Hypervisor, item: tuple[VmId, _Decision[Plan]], action: Action[Wish, Plan], limits: Limits
) -> VmOutcome:
    vm_id, decision = item
    if isinstance(decision, _Pending):
        return _pending(hypervisor, decision.vm)
    if isinstance(decision, (Nothing, _Refused, KvmError)):
        return _outcome_of(vm_id, decision, limits)
    if isinstance(decision, _Unplanned):
        raise AssertionError("a check looks at every VM first")
    return action.predict(decision)


def _act(
    hypervisor: Hypervisor, item: tuple[VmId, _Decision[Plan]], action: Action[Wish, Plan], limits: Limits
) -> VmOutcome:
    vm_id, decision = item
    if isinstance(decision, (Nothing, _Refused, KvmError)):
        return _outcome_of(vm_id, decision, limits)
    deadline = Deadline(limits.timeout)
    with hypervisor.lock(vm_id, deadline):
        # Another run may have had the lock since the first decision: only what holds under it counts.
        try:
            ready = _if_it_holds(hypervisor, decision, action)
            vm = before = ready.vm if ready else _look(hypervisor, vm_id)
        except KvmError as error:
            return _outcome_of(vm_id, error, limits)
        recovered = Recovery("")
        try:
            if vm.operation:
                recovered = hypervisor.recover(vm, deadline)
                vm = hypervisor.inspect(vm_id)
                if recovered.finished and before.operation and action.is_done_by(before.operation, vm):
                    done = Nothing(vm, "nothing else was to be done", vm.find(before.operation.snapshot))
                    return _after_recovery(_outcome_of(vm_id, done, limits), before, recovered)
            acted = (
                action.act(hypervisor, ready, deadline) if ready else _act_on(hypervisor, vm, action, limits, deadline)
            )
            return _after_recovery(acted, before, recovered)
        except KvmError as error:
            ended = failed_vm(vm_id, error, before, _now(hypervisor, vm_id))
            if isinstance(error, MergeGoesOnError):
                ended = replace(ended, merge=error.progress, error=None if action.may_go_on() else error)
            return _after_recovery(ended, before, recovered)


def _if_it_holds(
    hypervisor: Hypervisor, decision: Union[Plan, _Pending, _Unplanned], action: Action[Wish, Plan]
) -> Optional[Plan]:
    if isinstance(decision, (_Pending, _Unplanned)):
        return None
    return decision if action.holds(hypervisor, decision) else None


def _act_on(
    hypervisor: Hypervisor, vm: VirtualMachine, action: Action[Wish, Plan], limits: Limits, deadline: Deadline
) -> VmOutcome:
    wish = _wish(vm, action, limits)
    plan = wish if isinstance(wish, Nothing) else action.plan(hypervisor, vm, wish)
    return _outcome_of(vm.id, plan, limits) if isinstance(plan, Nothing) else action.act(hypervisor, plan, deadline)


def _after_recovery(outcome: VmOutcome, before: VirtualMachine, recovered: Recovery) -> VmOutcome:
    if not recovered.msg:
        return outcome
    return replace(
        outcome,
        before=before.snapshots,
        recovered=recovered.msg,
        msg=f"{recovered.msg} Then: {outcome.msg.replace(_UNCHANGED, _UNCHANGED_SINCE)}",
        files_removed=(*recovered.files_removed, *outcome.files_removed),
    )


def _now(hypervisor: Hypervisor, vm_id: VmId) -> Optional[VirtualMachine]:
    """Return the VM after a failure; None where that cannot be told, which must not hide the failure itself."""
    try:
        return hypervisor.inspect(vm_id)
    except KvmError:
        return None


def _pending(hypervisor: Hypervisor, vm: VirtualMachine) -> VmOutcome:
    operation = vm.operation
    if operation is None:
        msg = "another run has just changed it; check mode cannot tell what is left to do"
        return VmOutcome(vm.id, vm.snapshots, vm.snapshots, None, msg)
    if operation.running:
        msg = f"another run is at work on it ({operation}); check mode cannot tell what is left to do then"
        return VmOutcome(vm.id, vm.snapshots, vm.snapshots, None, msg)
    refused = hypervisor.cannot_recover(vm)
    if refused:
        return failed_vm(vm.id, refused, vm, vm)
    msg = (
        f"the interrupted {operation} would be finished or undone first; check mode cannot tell what is left to do then"
    )
    return VmOutcome(vm.id, vm.snapshots, vm.snapshots, None, msg, recovered=msg)


def _outcome_of(vm_id: VmId, decision: Union[Nothing, _Refused, KvmError], limits: Limits) -> VmOutcome:
    if isinstance(decision, _Refused):
        return failed_vm(vm_id, decision.error, decision.vm, decision.vm)
    if isinstance(decision, KvmError):
        may_be_missing = limits.missing == "skip" and decision.error_code == "vm_not_found"
        return missing_vm(vm_id.name) if may_be_missing else failed_vm(vm_id, decision)
    vm = decision.vm
    return VmOutcome(
        vm_id=vm_id,
        before=vm.snapshots,
        after=vm.snapshots,
        snapshot=decision.snapshot,
        msg=decision.msg,
        notes=decision.notes,
        power=(vm.power, vm.power),
        kept=decision.kept,
        kept_because=decision.kept_because,
    )
