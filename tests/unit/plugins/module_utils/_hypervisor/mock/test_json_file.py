# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The mock's file: many may use it at once, and who only reads writes nothing."""

from __future__ import annotations

import multiprocessing
import os
import re
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.limiquantix.kvm.plugins.doc_fragments.hypervisor import ModuleDocFragment
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.mock.hypervisor import MockHypervisor
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.take import Present
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.deadline import Deadline
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.request import SnapshotRequest
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils._hypervisor.mock.looks import code, look
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils.values import do, machine, state_file, take


def test_a_missing_file_is_told_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(KvmError, match="No such file") as caught:
        MockHypervisor(str(tmp_path / "none.json"))
    assert caught.value.error_code == "connection_failed"
    assert list(tmp_path.iterdir()) == []


def test_the_remedy_for_a_missing_file_is_one_that_can_be_used(tmp_path: Path) -> None:
    path = tmp_path / "mock.json"
    with pytest.raises(KvmError) as caught:
        MockHypervisor(str(path))
    least = re.fullmatch(r"Write for example (.*) into it, or give another mock_path\.", caught.value.remedy)
    assert least, caught.value.remedy
    path.write_text(least[1])
    assert [domain.name for domain in MockHypervisor(str(path)).vms()] == ["web01"]
    assert least[1] in ModuleDocFragment.DOCUMENTATION


def test_reading_writes_nothing(tmp_path: Path) -> None:
    path = state_file(tmp_path, machine("a"))
    before = Path(path).read_text()
    assert take(path, check_mode=True).changed
    look(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.json"]
    assert Path(path).read_text() == before


def _take_many(path: str, names: list[str], results: Any) -> None:
    for name in names:
        outcomes = do(path, Present(SnapshotRequest(name)))
        results.put([(outcome.changed, code(outcome)) for outcome in outcomes])


def test_many_processes_and_threads_on_one_file(tmp_path: Path) -> None:
    path = state_file(tmp_path, *(machine(f"vm{number}") for number in range(3)))
    names = [f"s{number}" for number in range(5)]
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    processes = [context.Process(target=_take_many, args=(path, names, results)) for _number in range(3)]
    for process in processes:
        process.start()
    found = [answer for _number in range(15) for answer in results.get(timeout=60)]
    for process in processes:
        process.join(timeout=60)
    assert {error for _changed, error in found} == {""}
    assert sum(changed for changed, _error in found) == 3 * len(names)
    hypervisor = MockHypervisor(path)
    for domain in hypervisor.vms():
        vm = hypervisor.inspect(domain)
        assert sorted(snapshot.name for snapshot in vm.snapshots) == names
        # Each on the one before: a tree without siblings, a chain without gaps.
        assert len({snapshot.parent for snapshot in vm.snapshots}) == len(names)
        assert len(hypervisor.storage(vm).chains[0].layers) == len(names) + 1


def test_a_lock_dies_with_its_holder(tmp_path: Path) -> None:
    path = state_file(tmp_path, machine("a"))
    hypervisor = MockHypervisor(path)
    (domain,) = hypervisor.vms()
    reader, writer = os.pipe()
    holder = os.fork()
    if holder == 0:
        with hypervisor.lock(domain, Deadline(5)):
            os.write(writer, b"x")
            os.read(os.pipe()[0], 1)
    os.read(reader, 1)
    outcome = take(path, timeout=1)
    assert code(outcome) == "locked"
    assert outcome.error is not None
    assert outcome.error.details["pid"] == str(holder)
    os.kill(holder, 9)
    os.waitpid(holder, 0)
    assert take(path, timeout=1).changed
