# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One `ansible-playbook` command and how long all of it takes, from its start to its end."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.paths import INVENTORY

from .remote import FLEET_SIZE

VMS = [f"tiny{number:02}" for number in range(1, FLEET_SIZE + 1)]
VIRSH = "virsh -c qemu:///system snapshot-create-as --disk-only --atomic"

# What is compared; {{ name }} is the snapshot's.
TASKS: Mapping[str, Mapping[str, Any]] = {
    "ping": {"ansible.builtin.ping": {}},
    "module": {"limiquantix.kvm.vm_snapshot": {"vms": "tiny*", "name": "{{ name }}"}},
    "loop": {"ansible.builtin.command": VIRSH + " {{ item }} {{ name }}", "loop": VMS},
    "shell": {"ansible.builtin.shell": f"set -e; for vm in {' '.join(VMS)}; do {VIRSH} $vm {{{{ name }}}}; done"},
    "info": {"limiquantix.kvm.vm_snapshot_info": {"vms": "tiny*"}},
}


@dataclass(frozen=True)
class Playbooks:
    """The tasks above as playbooks of one task each, in a folder; pipelining is the same for all."""

    folder: Path
    host: str
    pipelining: bool

    def write(self) -> None:
        for name, task in TASKS.items():
            play = {"hosts": self.host, "gather_facts": False, "tasks": [task]}
            self._path(name).write_text(json.dumps([play]), "utf-8")  # JSON is YAML

    def seconds(self, task: str, name: str = "") -> float:
        """Run a playbook; one that fails ends the benchmark with what it said."""
        command = ["ansible-playbook", "-i", str(INVENTORY), "-e", f"name={name}", str(self._path(task))]
        environment = {**os.environ, "ANSIBLE_PIPELINING": str(self.pipelining), "ANSIBLE_NOCOLOR": "true"}
        started = time.perf_counter()
        done = subprocess.run(
            command, check=False, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        seconds = time.perf_counter() - started
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
        return seconds

    def _path(self, task: str) -> Path:
        return self.folder / f"{task}.yml"
