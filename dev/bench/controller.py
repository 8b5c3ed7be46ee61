# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a fleet costs the controller: a snapshot on many simulated hypervisors beside Ansible's `ping` of the same.

The hypervisors are files on the controller and their connection is local. What runs on a host, Python with the module, writes
down the processor time that it took, and is counted apart.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .report import Block, Difference, Ratio
from .rounds import Samples

SIZES, QUICK_SIZES = (50, 200, 500), (5, 10, 20)
_FORKS = "10"
_VM = {
    "name": "web01",
    "memory_mib": 192,
    "disks": [{"target": "vda", "source": "/var/lib/libvirt/images/web01.qcow2"}],
}
_WHERE = {"backend": "mock", "mock_path": "{{ inventory_dir }}/{{ inventory_hostname }}.json"}
TASKS: Mapping[str, Mapping[str, Any]] = {
    "ping": {"ansible.builtin.ping": {}},
    "take": {"limiquantix.kvm.vm_snapshot": {"vms": "web01", "name": "before-{{ round }}", **_WHERE}},
    "info": {"limiquantix.kvm.vm_snapshot_info": {"vms": "web01", **_WHERE}},
}
METHOD = (
    f"The whole `ansible-playbook` command with one task, without facts, {_FORKS} forks, local connections: processor time of it "
    "and of all that it starts, but for the Python on the host, which is counted apart. Memory is that of its largest process. "
    "The tasks take turns."
)
# A host's Python. The shell tells in its last two lines what itself and what it started took, user and system.
_PYTHON = """#!/bin/sh
{python} "$@"
code=$?
times >> {spent}
exit $code
"""
_TIME = re.compile(r"(\d+)m([\d.]+)s")


@dataclass(frozen=True)
class Cost:
    """Of one command: seconds of a processor, those on the hosts, MiB of its largest process."""

    cpu: float
    on_hosts: float
    memory: float


def controller_block(sizes: tuple[int, ...]) -> Block:
    """Return what is called how, for fleets of these sizes."""
    words = {"ping": "`ping`", "take": "`vm_snapshot`", "info": "`vm_snapshot_info`"}
    first, last = sizes[0], sizes[-1]
    places = {"cpu": "the controller", "host": "the host"}
    names = {
        f"{key} {task} {size}": f"{size} hosts, processor time of {place} for each: {word}"
        for key, place in places.items()
        for size in sizes
        for task, word in words.items()
    }
    ratios = [
        Ratio(
            f"processor time of {places[key]}, {size} hosts: {words[task]} ÷ `ping`",
            f"{key} {task} {size}",
            f"{key} ping {size}",
            goal,
        )
        for key, goal in (("cpu", 1.5), ("host", None))
        for size in sizes
        for task in ("take", "info")
    ]
    ratios += [
        Difference(
            f"MiB of memory more at {last} hosts than at {first}: {words[task]}",
            f"memory {task} {last}",
            f"memory {task} {first}",
        )
        for task in words
    ]
    return Block("bench-controller", "the controller", names, ratios)


def controller_rounds(folder: Path, sizes: tuple[int, ...], rounds: int, samples: Samples) -> None:
    """Measure each task at each size; which comes first changes from round to round."""
    for number in range(rounds):
        for size in sizes:
            print(f"{size} simulated hosts {number + 1} of {rounds}", flush=True)
            fleet = _fleet(folder, size)
            for task in sorted(TASKS, reverse=bool(number % 2)):
                cost = _cost(folder, fleet, task, number)
                samples.add(f"cpu {task} {size}", (cost.cpu - cost.on_hosts) / size)
                samples.add(f"host {task} {size}", cost.on_hosts / size)
                samples.add(f"memory {task} {size}", cost.memory)


def _fleet(folder: Path, size: int) -> Path:
    """Return the inventory of so many simulated hosts, all as they were at first."""
    hosts = [f"hv{number:03}" for number in range(size)]
    for host in hosts:
        (folder / f"{host}.json").write_text(json.dumps({"vms": [_VM]}), "utf-8")
    python = folder / "python"
    python.write_text(_PYTHON.format(python=sys.executable, spent=folder / "spent"), "utf-8")
    python.chmod(0o755)
    local = {"ansible_connection": "local", "ansible_python_interpreter": str(python)}
    inventory = folder / "inventory.json"
    inventory.write_text(json.dumps({"all": {"hosts": {host: {} for host in hosts}, "vars": local}}), "utf-8")
    return inventory


def _cost(folder: Path, inventory: Path, task: str, number: int) -> Cost:
    """Run one task on all hosts; one that fails ends the benchmark with what it said."""
    play, told, spent = folder / f"{task}.yml", folder / "told", folder / "spent"
    spent.write_text("", "utf-8")
    play.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": [TASKS[task]]}]), "utf-8")
    command = ["ansible-playbook", "-i", str(inventory), "-f", _FORKS, "-e", f"round={number}", str(play)]
    with told.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        _pid, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{told.read_text('utf-8')[-2000:]}")
    on_hosts = sum(60 * float(minutes) + float(seconds) for minutes, seconds in _TIME.findall(spent.read_text("utf-8")))
    return Cost(used.ru_utime + used.ru_stime, on_hosts, used.ru_maxrss / 1024)
