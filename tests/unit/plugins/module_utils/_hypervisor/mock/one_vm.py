# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM of the mock with two snapshots in a row, what may be done to it, and what it is then."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.mock.hypervisor import MockHypervisor
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.outcome import VmOutcome
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.remove import Absent, every, named
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.revert import Reverted
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.request import RevertRequest
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.storage import Storage
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import VirtualMachine
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils.values import (
    do,
    machine,
    state_file,
    take,
)


def revert(path: str, name: str = "s1", **wish: Any) -> VmOutcome:
    return do(path, Reverted(RevertRequest(name, **wish)))[0]


def remove(path: str, name: str = "", bandwidth: int = 0, **limits: Any) -> VmOutcome:
    return do(path, Absent(named(name, False) if name else every, bandwidth), **limits)[0]


def look(path: str) -> tuple[VirtualMachine, Storage]:
    hypervisor = MockHypervisor(path)
    vm = hypervisor.inspect(hypervisor.vms()[0])
    return vm, hypervisor.storage(vm)


@contextmanager
def edited(path: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Give the state and its first VM to be changed by hand."""
    state = json.loads(Path(path).read_text())
    yield state, state["vms"][0]
    Path(path).write_text(json.dumps(state))


def files(path: str) -> set[str]:
    return set(json.loads(Path(path).read_text())["files"])


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A running VM with the snapshots s1 and s2 in a row."""
    path = state_file(tmp_path, machine("a"))
    for name in ("s1", "s2"):
        assert take(path, name).changed
    return path
