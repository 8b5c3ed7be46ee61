# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet of mocks, playbooks run over it, and what became of its VMs."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from .playbook_run import SNAPSHOT, Run, run

TESTS = Path(__file__).resolve().parents[1]

FIXTURE = TESTS / "fixtures" / "mock" / "fleet.json"


@pytest.fixture
def mock_fleet(tmp_path: Path) -> Path:
    """The inventory of two mock hypervisors: what a playbook says and asks is the same on every backend."""
    mocks = {name: {"snapshot_mock_path": str(tmp_path / f"{name}.json")} for name in ("mock-1", "mock-2")}
    for name in mocks:
        shutil.copy(FIXTURE, tmp_path / f"{name}.json")
    variables = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "snapshot_backend": "mock",
    }
    inventory = tmp_path / "inventory.yml"
    inventory.write_text(json.dumps({"hypervisors": {"hosts": mocks, "vars": variables}}))
    return inventory


def with_variables(*variables: str) -> list[str]:
    return [*SNAPSHOT, *(word for variable in variables for word in ("-e", variable))]


def playbook(name: str, *variables: str) -> list[str]:
    words = [word for variable in variables for word in ("-e", variable)]
    return ["ansible-playbook", f"limiquantix.kvm.{name}", *words]


def flat(done: Run) -> str:
    """Return what was said without line ends, which a terminal puts anywhere."""
    return " ".join(done.output.split())


def states(inventory: Path) -> list[str]:
    """Return what every mock holds."""
    return [path.read_text() for path in sorted(inventory.parent.glob("mock-?.json"))]


def take(inventory: Path, *names: str) -> None:
    for name in names:
        done = run(with_variables(f"snapshot_name={name}", "snapshot_memory=no"), inventory)
        assert done.status == 0, done.output


def current(inventory: Path, vm: str) -> list[str]:
    """Return what a VM's present is based on, on every mock."""
    states = [json.loads(path.read_text()) for path in sorted(inventory.parent.glob("mock-?.json"))]
    return [one["current"] for state in states for one in state["vms"] if one["name"] == vm]
