# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one shape of every operation that changes a VM's snapshots: plan, run, resume."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.guest.thaw_guard import ThawGuard
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.inspection import (
    Inspected,
    as_inspected,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.vm import VmHandle
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.deadline import Pace
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.plan import Done, Recovery
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import VirtualMachine

Wish = TypeVar("Wish")
Plan = TypeVar("Plan")
Noted = TypeVar("Noted")


@dataclass(frozen=True)
class Tools:
    """What an operation needs beside its VM: how to open one more connection, and who thaws a guest whatever dies."""

    uri: str
    guard: ThawGuard


class Operation(ABC, Generic[Wish, Plan, Noted]):
    """One change of one VM's snapshots. The lock of the VM is held from `plan` to the end of `run`, and in `resume`.

    `plan` reads, refuses, and changes nothing. `run` writes a journal first, of the type that `resume` takes: with that a later
    run finishes or undoes what this one leaves, wherever it ended. Every method raises `KvmError`, as `Hypervisor` says.
    """

    kind: ClassVar[str]  # that of its journal

    def __init__(self, handle: VmHandle, tools: Tools, pace: Pace) -> None:
        self._handle = handle
        self._tools = tools
        self._pace = pace

    def plan(self, vm: VirtualMachine, wish: Wish) -> Plan:
        """Decide what is to be done, by what the inspection of the VM has read and one more look at the rest."""
        with as_inspected(self._handle, vm) as found:
            return self._plan(found, wish)

    @abstractmethod
    def _plan(self, vm: Inspected, wish: Wish) -> Plan:
        """Decide it, and check all that can be checked beforehand."""

    @abstractmethod
    def run(self, plan: Plan) -> Done:
        """Do what was planned, verify it, and tell what came of it."""

    @abstractmethod
    def resume(self, journal: Noted) -> Recovery:
        """Finish or undo what an interrupted run left, and say which."""
