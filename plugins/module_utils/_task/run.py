# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A task over many VMs: decide for every VM, refuse what must not begin, then act on each under its lock."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Generic, Optional, TypeVar, Union

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.contract import Hypervisor
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.refusals import vm_gone
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.fleet import Fleet
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.outcome import VmOutcome, missing_vm
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.selection import select
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.deadline import Deadline
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import Snapshot
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import DomainId, Operation, VirtualMachine

Plan = TypeVar("Plan")


@dataclass(frozen=True)
class Limits:
    """How much at once, how long for one VM (seconds), which VMs are left alone, and what one that is not here is."""

    parallel: int = 4
    timeout: int = 600
    running_only: bool = False
    missing: str = "fail"


@dataclass(frozen=True)
class Nothing:
    """Nothing to do for this VM, and why; ``kept`` are the snapshots that were in question."""

    vm: VirtualMachine
    msg: str
    snapshot: Optional[Snapshot] = None
    notes: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Unsettled:
    """A run is or was just at work on this VM, or was interrupted: what there is to do shows when that has come to its end."""

    vm: VirtualMachine


@dataclass(frozen=True)
class _Unseen:
    """Nobody has looked at this VM yet: that is done under its lock."""


class Action(ABC, Generic[Plan]):
    """What a task wants of each VM. Every method may raise `KvmError`."""

    @abstractmethod
    def decide(self, hypervisor: Hypervisor, vm: VirtualMachine) -> Union[Plan, Nothing]:
        """Return what is to be done, having refused what can be refused; change nothing."""

    def is_done_by(self, _operation: Operation, _vm: VirtualMachine) -> bool:
        """Whether finishing what an interrupted run began was all that is wanted; ``vm`` is as it is after that."""
        return False

    def refuse(self, _hypervisor: Hypervisor, _plans: Sequence[Plan]) -> dict[str, KvmError]:
        """Return, by VM UUID, what all plans together forbid before the first VM is touched."""
        return {}

    @abstractmethod
    def predict(self, plan: Plan) -> VmOutcome:
        """Return what acting will make of the VM, as far as that is known beforehand."""

    @abstractmethod
    def act(self, hypervisor: Hypervisor, plan: Plan, deadline: Deadline) -> VmOutcome:
        """Do it; the VM's lock is held."""


_Decision = Union[Plan, Nothing, _Unsettled, _Unseen, KvmError]


def run(
    hypervisor: Hypervisor, patterns: Sequence[str], action: Action[Plan], limits: Limits, check_mode: bool
) -> list[VmOutcome]:
    """Return what became of every selected VM; raise only what is wrong with the task as a whole.

    Where ``limits`` let VMs be missing, those are among what is returned.
    """
    meant = select(hypervisor.domains(), patterns, limits.missing)
    domains = meant.domains
    fleet = Fleet(hypervisor, limits.parallel, limits.timeout)
    try:
        decisions: Sequence[_Decision[Plan]] = [_Unseen()] * len(domains)
        if check_mode or hypervisor.adds_up:
            decisions = fleet.each(domains, partial(_decide, action=action, limits=limits))
        plans = [one for one in decisions if not isinstance(one, (Nothing, _Unsettled, _Unseen, KvmError))]
        refused = action.refuse(hypervisor, plans)
        settled = [refused.get(domain.uuid, decision) for domain, decision in zip(domains, decisions)]
        work = partial(_predict if check_mode else _act, action=action, limits=limits)
        outcomes = fleet.each(list(zip(domains, settled)), work)
    finally:
        fleet.close()
    became = [
        _failure(domain, result) if isinstance(result, KvmError) else result
        for domain, result in zip(domains, outcomes)
    ]
    return [*became, *(missing_vm(name) for name in meant.missing)]


def _decide(
    hypervisor: Hypervisor, domain: DomainId, action: Action[Plan], limits: Limits
) -> Union[Plan, Nothing, _Unsettled]:
    vm = _look(hypervisor, domain)
    if vm.operation and not _left_alone(vm, limits):
        return _Unsettled(vm)
    try:
        return _decide_on(hypervisor, vm, action, limits)
    except KvmError:
        now = _now(hypervisor, domain)
        if now and (now.operation or _taken(now) != _taken(vm)):  # what was refused was half of another run's work
            return _Unsettled(now)
        raise


def _look(hypervisor: Hypervisor, domain: DomainId) -> VirtualMachine:
    """Read a VM. Raises ``vm_not_found`` where it went away, or has another name than the task selected it by."""
    vm = hypervisor.inspect(domain)
    if vm.name != domain.name:
        raise vm_gone(domain.name, f"it has just been renamed to {vm.name}")
    return vm


def _taken(vm: VirtualMachine) -> list[tuple[str, Optional[str]]]:
    return [(one.name, one.created_at) for one in vm.snapshots]


def _left_alone(vm: VirtualMachine, limits: Limits) -> bool:
    return limits.running_only and vm.state != "running"


def _decide_on(
    hypervisor: Hypervisor, vm: VirtualMachine, action: Action[Plan], limits: Limits
) -> Union[Plan, Nothing]:
    return Nothing(vm, f"left alone: {vm.state}") if _left_alone(vm, limits) else action.decide(hypervisor, vm)


def _predict(
    _hypervisor: Hypervisor, item: tuple[DomainId, _Decision[Plan]], action: Action[Plan], limits: Limits
) -> VmOutcome:
    domain, decision = item
    if isinstance(decision, _Unsettled):
        return _unsettled(decision.vm)
    if isinstance(decision, (Nothing, KvmError)):
        return _settled(domain, decision, limits)
    if isinstance(decision, _Unseen):
        raise AssertionError("a check looks at every VM first")
    return action.predict(decision)


def _act(
    hypervisor: Hypervisor, item: tuple[DomainId, _Decision[Plan]], action: Action[Plan], limits: Limits
) -> VmOutcome:
    domain, decision = item
    if isinstance(decision, (Nothing, KvmError)):
        return _settled(domain, decision, limits)
    deadline = Deadline(limits.timeout)
    with hypervisor.lock(domain, deadline):
        # Another run may have had the lock since the first decision: only what is decided under it counts.
        try:
            vm = before = _look(hypervisor, domain)
        except KvmError as error:
            return _settled(domain, error, limits)
        recovered = ""
        try:
            if vm.operation:
                recovery = hypervisor.recover(vm, deadline)
                recovered = recovery.msg
                vm = hypervisor.inspect(domain)
                if recovery.finished and before.operation and action.is_done_by(before.operation, vm):
                    done = Nothing(vm, "that was all there was to do", vm.find(before.operation.snapshot))
                    return _after_recovery(_settled(domain, done, limits), before, recovered)
            return _after_recovery(_act_on(hypervisor, vm, action, limits, deadline), before, recovered)
        except KvmError as error:
            return _after_recovery(_failure(domain, error, before, _now(hypervisor, domain)), before, recovered)


def _act_on(
    hypervisor: Hypervisor, vm: VirtualMachine, action: Action[Plan], limits: Limits, deadline: Deadline
) -> VmOutcome:
    decision = _decide_on(hypervisor, vm, action, limits)
    return (
        _settled(vm.id, decision, limits)
        if isinstance(decision, Nothing)
        else action.act(hypervisor, decision, deadline)
    )


def _after_recovery(outcome: VmOutcome, before: VirtualMachine, recovered: str) -> VmOutcome:
    if not recovered:
        return outcome
    msg = f"{recovered} Then: {outcome.msg}"
    return replace(outcome, before=before.snapshots, recovered=recovered, msg=msg)


def _now(hypervisor: Hypervisor, domain: DomainId) -> Optional[VirtualMachine]:
    """Return the VM after a failure; None where that cannot be told, which must not hide the failure itself."""
    try:
        return hypervisor.inspect(domain)
    except KvmError:
        return None


def _unsettled(vm: VirtualMachine) -> VmOutcome:
    operation = vm.operation
    if operation is None:
        msg = "another run has just changed it; what is left to do is not known"
        return VmOutcome(vm.id, vm.snapshots, vm.snapshots, None, msg)
    if operation.running:
        msg = f"another run is at work on it ({operation}); what is left to do then is not known"
        return VmOutcome(vm.id, vm.snapshots, vm.snapshots, None, msg)
    msg = f"the interrupted {operation} would be finished or undone first; what is left to do then is not known"
    return VmOutcome(vm.id, vm.snapshots, vm.snapshots, None, msg, recovered=msg)


def _settled(domain: DomainId, decision: Union[Nothing, KvmError], limits: Limits) -> VmOutcome:
    if isinstance(decision, KvmError):
        may_be_missing = limits.missing == "skip" and decision.error_code == "vm_not_found"
        return missing_vm(domain.name) if may_be_missing else _failure(domain, decision)
    vm = decision.vm
    return VmOutcome(
        domain=domain,
        before=vm.snapshots,
        after=vm.snapshots,
        snapshot=decision.snapshot,
        msg=decision.msg,
        notes=decision.notes,
        power=(vm.state, vm.state),
        kept=decision.kept,
    )


def _failure(
    domain: DomainId,
    error: KvmError,
    before: Optional[VirtualMachine] = None,
    now: Optional[VirtualMachine] = None,
) -> VmOutcome:
    """A VM that failed; with ``before`` and ``now`` where it may have changed all the same."""
    known = before is not None and now is not None
    return VmOutcome(
        domain=domain,
        before=before.snapshots if before and known else (),
        after=now.snapshots if now and known else (),
        snapshot=None,
        msg=error.full_message,
        power=(before.state, now.state) if before and now else ("", ""),
        error=error,
    )
