# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A job of the role schedule below a directory of its own, and its program as a process and as a module."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PROGRAM = Path(__file__).resolve().parents[2] / "roles/schedule/files/schedule_run.py"
# In place of ansible-playbook: notes how it was called, and ends as a file of the playbook's name says. Asked for hosts, it says
# what the file hosts has.
FAKE = """#!/bin/sh
cd "$(dirname "$0")"
case "$*" in *--list-hosts) cat hosts; exit;; esac
printf '%s\\n' "$COLOUR" "$@" > "called.$1"
while [ -e wait ]; do touch waiting; sleep 0.05; done
[ ! -e "status.$1" ] || exit "$(cat "status.$1")"
"""
# As ansible-core 2.17 to 2.21 print it.
HOSTS = """
playbook: /x/playbooks/snapshot.yml

  play #1 (hypervisors): Snapshot VMs of the fleet	TAGS: []
    pattern: ['hypervisors']
    hosts ({}):
"""
SNAPSHOT, PRUNE = "limiquantix.kvm.snapshot", "limiquantix.kvm.prune"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The directories as the role makes them, with a job of two steps."""
    jobs, state = tmp_path / "etc/limiquantix-kvm-schedule", tmp_path / "var/lib/limiquantix-kvm-schedule"
    for folder in (jobs, state):
        folder.mkdir(parents=True)
    fake = tmp_path / "ansible-playbook"
    fake.write_text(FAKE)
    fake.chmod(0o755)
    (tmp_path / "hosts").write_text(HOSTS.format(1))
    job = {
        "ansible_playbook": str(fake),
        "environment": {"COLOUR": "green"},
        "inventory": ["/a.yml", "/b.yml"],
        "limit": "site1",
        "steps": [
            {"playbook": "snapshot", "name": "nightly-%Y%m%d", "vars": {"snapshot_vms": "web*"}},
            {"playbook": "prune", "vars": {"snapshot_keep_last": 7}},
        ],
    }
    (jobs / "nightly.json").write_text(json.dumps(job))
    return tmp_path


def words(root: Path, *arguments: str) -> list[str]:
    return [sys.executable, str(PROGRAM), "--root", str(root), *arguments]


def run(root: Path, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(words(root, *arguments), check=False, capture_output=True, text=True, timeout=30)
    return done.returncode, done.stdout + done.stderr


def status(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((root / "var/lib/limiquantix-kvm-schedule/nightly.json").read_text())
    return found


def until_there(file: Path) -> None:
    end = time.monotonic() + 20
    while not file.exists():
        assert time.monotonic() < end, f"{file} does not appear"
        time.sleep(0.02)


@pytest.fixture
def program() -> ModuleType:
    spec = importlib.util.spec_from_file_location("schedule_run", PROGRAM)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
