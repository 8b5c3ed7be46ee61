# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of a VM, for tests of what is told of it."""

from __future__ import annotations

from typing import Any

from ansible_collections.limiquantix.kvm.plugins.module_utils._task.info.vm_facts import VmFacts
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.storage import Storage
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils.values import (
    snapshot,
    vm,
)

TREE = (
    snapshot("root"),
    snapshot("left", "root"),
    snapshot("leaf", "left", include_memory=True),
    snapshot("right", "root", current=True),
    snapshot("second root"),
)


def facts(name: str = "web01", storage: Storage | None = None, **values: Any) -> VmFacts:
    machine = vm(name, **values)
    return VmFacts(machine, machine.snapshots, storage or Storage(chains=()))
