# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a task wants of each VM: what is to be done about it, what that will make of it, and doing it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, Optional, Protocol, TypeVar, Union

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.contract import Hypervisor
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.outcome import VmOutcome
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.deadline import Deadline
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import Snapshot
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import Operation, VirtualMachine

Wish = TypeVar("Wish")


class Planned(Protocol):
    """What is to be done for a VM."""

    @property
    def vm(self) -> VirtualMachine:
        """The VM as the plan was made for it."""


Plan = TypeVar("Plan", bound=Planned)


@dataclass(frozen=True)
class Nothing:
    """Nothing to do for this VM, and why; ``kept`` are the snapshots that were in question, ``kept_because`` why each stays."""

    vm: VirtualMachine
    msg: str
    snapshot: Optional[Snapshot] = None
    notes: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    kept_because: Mapping[str, Sequence[str]] = field(default_factory=dict)


class Action(ABC, Generic[Wish, Plan]):
    """What a task wants of each VM. Every method may raise `KvmError`."""

    @abstractmethod
    def decide(self, vm: VirtualMachine) -> Union[Wish, Nothing]:
        """Return what is wanted of a VM, going by its inspection alone."""

    @abstractmethod
    def plan(self, hypervisor: Hypervisor, vm: VirtualMachine, wish: Wish) -> Union[Plan, Nothing]:
        """Return what is to be done for that, having read what it takes and refused what can be refused; change nothing."""

    def plans_ahead(self, _vm: VirtualMachine, _wish: Wish) -> bool:
        """Whether a task that acts plans before it has the VM's lock too.

        For what all plans together need, or where the plan may show that there is nothing to do, and so no lock to wait for.
        """
        return False

    def holds(self, _hypervisor: Hypervisor, _plan: Plan) -> bool:
        """Whether what was planned ahead holds under the VM's lock too. What takes data away is always planned anew."""
        return False

    def is_done_by(self, _operation: Operation, _vm: VirtualMachine) -> bool:
        """Whether finishing what an interrupted run began was all that is wanted; ``vm`` is as it is after that."""
        return False

    def may_go_on(self) -> bool:
        """Whether a merge that goes on after the task is what was wanted, and no failure."""
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
