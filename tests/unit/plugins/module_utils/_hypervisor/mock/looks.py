# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Looking at what the tests of the mock have made."""

from __future__ import annotations

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.mock.hypervisor import MockHypervisor
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.outcome import VmOutcome
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.storage import Storage
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import VirtualMachine


def code(outcome: VmOutcome) -> str:
    return outcome.error.error_code if outcome.error else ""


def look(path: str) -> tuple[VirtualMachine, Storage]:
    hypervisor = MockHypervisor(path)
    vm = hypervisor.inspect(hypervisor.vms()[0])
    return vm, hypervisor.storage(vm)
