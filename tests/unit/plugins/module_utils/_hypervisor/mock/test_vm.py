# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM of the state file as a value."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.mock.hypervisor import MockHypervisor
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils.values import machine, state_file, take


def test_the_files_under_a_snapshot_that_are_gone_are_named(tmp_path: Path) -> None:
    path = state_file(tmp_path, machine("a"))
    take(path, "s")
    hypervisor = MockHypervisor(path)
    vm = hypervisor.inspect(hypervisor.vms()[0])
    (taken,) = vm.snapshots
    assert (taken.missing_files, taken.current, taken.past) == ((), True, "unchanged")
    assert taken.disks[0].base == "/vm/a.qcow2"


def test_memory_that_is_not_told_is_a_gibibyte(tmp_path: Path) -> None:
    hypervisor = MockHypervisor(state_file(tmp_path, machine("a"), machine("b", memory_mib=4)))
    assert [hypervisor.inspect(one).memory_bytes for one in hypervisor.vms()] == [1 << 30, 4 << 20]
