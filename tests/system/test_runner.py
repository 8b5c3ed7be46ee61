# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of guide_awx.rst, as they stand there, over a mock hypervisor. No lab needed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .guide_blocks import ROOT, examples

VMS = {"db01", "files01", "off01", "tsc01", "web01"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What ansible-runner calls a private data directory, as the guide has it."""
    there = tmp_path / "private"
    for part in ("inventory", "env", "project"):
        (there / part).mkdir(parents=True)
    shutil.copy(ROOT / "tests/fixtures/mock/fleet.json", tmp_path / "state.json")
    variables = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "snapshot_backend": "mock",
        "snapshot_mock_path": str(tmp_path / "state.json"),
    }
    inventory = {"hypervisors": {"hosts": {"mock-1": {}}, "vars": variables}}
    (there / "inventory/hosts.json").write_text(json.dumps(inventory))
    (there / "env/extravars").write_text("snapshot_name: pre-patch\n")
    return there


def run_example(name: str, folder: Path) -> str:
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", examples()[name].text],
        cwd=folder,
        env={**os.environ, "ANSIBLE_NOCOLOR": "true"},
        capture_output=True,
        check=False,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def with_it(folder: Path) -> set[str]:
    """Return the VMs that have the snapshot."""
    vms = json.loads((folder.parent / "state.json").read_text())["vms"]
    return {vm["name"] for vm in vms if "pre-patch" in [one["name"] for one in vm.get("snapshots", [])]}


def test_a_folder_of_ansible_runner_is_run_here_and_elsewhere(folder: Path) -> None:
    assert with_it(folder) == set()
    assert "changed=1 " in run_example("runner", folder)
    assert with_it(folder) == VMS
    assert "changed=0 " in run_example("runner-elsewhere", folder)  # it is there: both did the same
