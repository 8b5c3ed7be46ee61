# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role qx_node on several hosts: a run that changes nothing beside a `ping` of them, and how long an upgrade is felt.

And snapshots of the fleet through the agent of one of them, beside a loop over `curl`, all from the controller.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.api import Host
from lab.paths import INVENTORY

from .remote import FLEET_SIZE, ROOT, Remote
from .rounds import Samples, turned

ROLE = {"name": "limiquantix.kvm.qx_node"}
# Static: one build for hosts whose C libraries are of different ages.
ENVIRONMENT = {"RUSTFLAGS": "-C target-feature=+crt-static"}
# What the agent's documentation shows, for each VM: its paths want the VM's id, so that names are looked up first.
CURL = """
set -e
for id in $(curl -sSf {url}/api/v1/vms | grep -o '"vmId":"[^"]*","name":"tiny[^"]*"' | cut -d '"' -f 4); do
    curl -sSf -o /dev/null -X POST {url}/api/v1/vms/$id/snapshots \\
        -H 'Content-Type: application/json' -d '{{"name": "{name}", "includeMemory": false}}'
done
"""
GAP_SCRIPT = Path(__file__).parent / "on_host" / "agent_gap.py"


def can_build() -> bool:
    return shutil.which("cargo") is not None


@dataclass(frozen=True)
class Roles:
    """Plays of the role, over some hosts."""

    folder: Path
    hosts: Sequence[Host]
    pipelining: bool

    def seconds(self, task: Mapping[str, Any], build: str = "1") -> float:
        """Run a play of one task; one that fails ends the benchmark with what it said."""
        environment = {**ENVIRONMENT, "CARGO_TARGET_DIR": str(self.folder / f"agent-{build}"), "QX_NODE_BUILD": build}
        variables = {
            "qx_node_source": str(ROOT / "tests" / "fixtures"),
            "qx_node_target": "x86_64-unknown-linux-gnu",
            "qx_node_build_environment": environment,
        }
        names = ":".join(host.name for host in self.hosts)
        play = {"hosts": names, "gather_facts": False, "vars": variables, "tasks": [task]}
        file = self.folder / "agent.yml"
        file.write_text(json.dumps([play]), "utf-8")
        command = ["ansible-playbook", "-i", str(INVENTORY), str(file)]
        settings = {**os.environ, "ANSIBLE_PIPELINING": str(self.pipelining), "ANSIBLE_NOCOLOR": "true"}
        started = time.perf_counter()
        done = subprocess.run(
            command, check=False, env=settings, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        seconds = time.perf_counter() - started
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
        return seconds


def agent_rounds(roles: Roles, rounds: int, samples: Samples) -> None:
    """Deploy, run again beside a ping, upgrade to and fro; in the end there is no agent on the hosts."""
    role = {"ansible.builtin.include_role": ROLE}
    ping: Mapping[str, Any] = {"ansible.builtin.ping": {}}
    remove = {"ansible.builtin.include_role": {**ROLE, "tasks_from": "remove"}}
    samples.add("one second", 1.0)
    try:
        roles.seconds(role)
        for number in range(rounds):
            print(f"agent {number + 1} of {rounds}, seconds", flush=True)
            for name, task in sorted({"role ping": ping, "role again": role}.items(), reverse=number % 2 == 1):
                samples.add(name, roles.seconds(task))
        for number in range(2, rounds + 2):
            print(f"upgrade {number - 1} of {rounds}, seconds", flush=True)
            _upgrade(roles, role, str(number), samples)
    finally:
        roles.seconds(remove)


def _upgrade(roles: Roles, role: Mapping[str, Any], build: str, samples: Samples) -> None:
    old, new = f"0.1.0+{int(build) - 1}", f"0.1.0+{build}"

    def watch(host: Host) -> float:
        done = host.run(["python3", "-", old, new], stdin=GAP_SCRIPT.read_text("utf-8"), timeout=180)
        return float(json.loads(done.stdout)["gap_ms"]) / 1000

    with ThreadPoolExecutor(len(roles.hosts)) as pool:
        watching = [pool.submit(watch, host) for host in roles.hosts]
        roles.seconds(role, build)
        for one in watching:
            samples.add("role down", one.result())


def snapshot_rounds(roles: Roles, remote: Remote, rounds: int, samples: Samples) -> None:
    """Take the fleet's snapshots through the agent in every way; between rounds the fleet is put back."""
    url = f"http://{remote.host.spec.address}:8080"

    def module(name: str) -> float:
        wish = {"backend": "qx_node", "url": url, "vms": "tiny*", "name": name}
        return roles.seconds({"limiquantix.kvm.vm_snapshot": wish, "delegate_to": "localhost"})

    def shell(name: str) -> float:
        return roles.seconds({"ansible.builtin.shell": CURL.format(url=url, name=name), "delegate_to": "localhost"})

    def own(name: str) -> float:
        path = os.pathsep.join(str(ROOT / folder) for folder in (".cache/collections", "dev"))
        command = [sys.executable, "-m", "bench.through_agent", url, name]
        environment = {**os.environ, "PYTHONPATH": path}
        done = subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE, text=True)
        return float(json.loads(done.stdout)["seconds"])

    def curl(name: str) -> float:
        started = time.perf_counter()
        subprocess.run(["sh", "-c", CURL.format(url=url, name=name)], check=True)
        return time.perf_counter() - started

    variants = {"agent module": module, "agent shell": shell, "agent own": own, "agent curl": curl}
    try:
        roles.seconds({"ansible.builtin.include_role": ROLE})
        for number in range(rounds):
            print(f"through the agent {number + 1} of {rounds}, seconds", flush=True)
            for name in turned(list(variants), number):
                samples.add(name, variants[name](f"round{number}-{name.split()[1]}"))
            _count(remote, len(variants))
            remote.ask("measure", "restore")
    finally:
        roles.seconds({"ansible.builtin.include_role": {**ROLE, "tasks_from": "remove"}})


def _count(remote: Remote, each: int) -> None:
    """Be sure that every way took all it was asked for."""
    found = remote.ask("measure", "info")["snapshots"]
    if found != [each] * FLEET_SIZE:
        raise SystemExit(f"not {each} snapshots of each VM, but {found}: is the host used by others, too?")
