# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds of the small agent in tests/fixtures, runs of the role qx_node, and what a host's agent is then."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Optional

import pytest
from lab.api import Host
from lab.paths import INVENTORY

from .playbook_run import Run, run

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
_CACHE = Path(__file__).resolve().parents[2] / ".cache" / "agent"
ROLE = "limiquantix.kvm.qx_node"
# Impatient: the agent of the tests is up in a tenth of a second.
QUICK = {"qx_node_stay_up": 1, "qx_node_health_timeout": 8, "ansible_pipelining": True}

# Runs on the host: all there is to know of its agent.
LOOK = r"""
import hashlib, json, os, subprocess, urllib.request
def sha(path):
    return hashlib.sha256(open(path, "rb").read()).hexdigest()
def name(pid):
    try:
        return os.path.basename(os.readlink("/proc/%s/exe" % pid)).replace(" (deleted)", "")
    except OSError:
        return ""
pids = [pid for pid in os.listdir("/proc") if pid.isdigit() and name(pid) in ("qx-node", "limiquantix-node")]
try:
    health = json.load(urllib.request.urlopen("http://127.0.0.1:8080/api/v1/host/health", timeout=3))
except Exception as error:
    health = {"healthy": False, "error": str(error)}
path = "/usr/local/bin/qx-node"
files = [os.path.join(folder, file) for folder, _, files in os.walk("/opt/qx-node") for file in files]
print(json.dumps({
    "pids": sorted(map(int, pids)),
    "running": sorted({sha("/proc/%s/exe" % pid) for pid in pids}),
    "healthy": health["healthy"] is True, "version": health.get("version"),
    "installed": sha(path) if os.path.exists(path) else None,
    "link": os.readlink(path) if os.path.islink(path) else None,
    "files": sorted(files),
    "service": next((f for f in ("/etc/init.d/qx-node", "/etc/systemd/system/qx-node.service") if os.path.exists(f)), None),
}))
"""
# Whatever a test before did to the agent.
CLEAN = """
umount -l /usr/local/bin /opt/qx-node 2>/dev/null
if [ -d /run/systemd/system ]; then
    systemctl disable --now --quiet qx-node; rm -f /etc/systemd/system/qx-node.service
    systemctl daemon-reload; systemctl reset-failed
else
    rc-service qx-node stop; rc-service qx-node zap
    rc-update -q delete qx-node default; rm -f /etc/init.d/qx-node
fi
pkill -KILL -x 'qx-node|limiquantix-nod|qx_node_release'
rm -rf /opt/qx-node /usr/local/bin/qx-node /usr/bin/qx-node /var/log/qx-node.log
true
"""


# An agent that serves is kept, and put back later: many tests begin with one, and the role takes ten times as long for it.
KEPT = "/var/tmp/agent-of-the-tests.tar"
KEEP = f"""
cd / && tar cf {KEPT} opt/qx-node usr/local/bin/qx-node $(ls etc/init.d/qx-node etc/systemd/system/qx-node.service 2>/dev/null)
"""
PUT_BACK = f"""
tar xf {KEPT} -C / || exit 1
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload; systemctl enable --now --quiet qx-node
else
    rc-update -q add qx-node default; rc-service qx-node start
fi
"""


@dataclass(frozen=True)
class Agent:
    """A host's agent as it is now."""

    pids: list[int]
    running: list[str]
    healthy: bool
    version: Optional[str]
    installed: Optional[str]
    link: Optional[str]
    files: list[str]
    service: Optional[str]

    def serves(self, build: Path) -> bool:
        """Whether this build, and no other, is installed, runs and is well."""
        return self.healthy and self.running == [self.installed] == [sha(build)]

    @property
    def releases(self) -> set[str]:
        return {Path(file).parent.name for file in self.files if file.endswith("/qx-node")}


def agent_of(host: Host) -> Agent:
    return Agent(**json.loads(host.run(["python3", "-"], stdin=LOOK).stdout))


def clean(host: Host) -> None:
    host.run(CLEAN)


def keep(host: Host) -> None:
    """Keep the agent that the role has put there."""
    host.run(KEEP)


def put_back(host: Host, build: Path) -> Agent:
    """Put the kept agent, which is this build, on a host without one."""
    host.run(PUT_BACK)
    until = time.monotonic() + 20
    while not (agent := agent_of(host)).serves(build):
        assert time.monotonic() < until, agent
        time.sleep(0.1)
    return agent


def sha(file: Path) -> str:
    return sha256(file.read_bytes()).hexdigest()


class Builds:
    """Builds of the agent, each compiled when it is first asked for; kept, as several processes of tests want the same."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder  # of this process, for builds that are none
        if not shutil.which("cargo"):
            if os.environ.get("CI") == "true":
                pytest.fail("there is no cargo, which CI must have")
            pytest.skip("there is no cargo; install Debian's package cargo")
        compiler = subprocess.run(["rustc", "-vV"], check=True, capture_output=True).stdout
        source = sorted(file for file in (FIXTURES / "agent").glob("**/*") if file.suffix in {".rs", ".toml", ".lock"})
        version = sha256(compiler + b"".join(file.read_bytes() for file in source)).hexdigest()
        self.kept = _CACHE / version[:16]
        self.kept.mkdir(parents=True, exist_ok=True)

    def compiled(self, name: str, **environment: str) -> Path:
        """Return a build made with these variables, such as QX_NODE_MISBEHAVE."""
        build = self.kept / name
        with (self.kept / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not build.exists():
                command = ["cargo", "build", "--release", "--locked", "--offline", "-p", "limiquantix-node"]
                target = self.kept / "target"
                environment = {**os.environ, "CARGO_TARGET_DIR": str(target), **environment}
                subprocess.run(command, check=True, cwd=FIXTURES / "agent", env=environment, capture_output=True)
                shutil.copy(target / "release" / "limiquantix-node", build.with_suffix(".new"))
                build.with_suffix(".new").rename(build)
        return build

    def good(self, number: int = 1) -> Path:
        return self.compiled(f"good-{number}", QX_NODE_BUILD=str(number))

    def bad(self, how: str) -> Path:
        return self.compiled(f"bad-{how}", QX_NODE_MISBEHAVE=how)

    def patched(self, name: str, old: bytes, new: bytes) -> Path:
        """Return a build in which bytes are others."""
        patched = self.folder / name
        original = self.good().read_bytes()
        assert old in original
        patched.write_bytes(original.replace(old, new, 1))
        return patched


def words(
    hosts: str, folder: Path, tasks_from: str = "main", play: Sequence[tuple[str, Any]] = (), **inputs: Any
) -> list[str]:
    """Write a play of the role, and return the command that runs it."""
    role = {"name": ROLE, "tasks_from": tasks_from}
    tasks = [
        {"name": "The role", "ansible.builtin.include_role": role},
        {"name": "Facts", "ansible.builtin.debug": {"msg": "FACT {{ qx_node_deployed | default({}) | to_json }}"}},
    ]
    plays = [{"name": "Test", "hosts": hosts, "gather_facts": False, **dict(play), "tasks": tasks}]
    file = folder / "play.yml"
    file.write_text(json.dumps(plays))
    variables = folder / "variables.yml"
    variables.write_text(json.dumps({**QUICK, **inputs}))
    return ["ansible-playbook", str(file), "-e", f"@{variables}"]


def changed(done: Run) -> dict[str, int]:
    """Return how many tasks said so, by host."""
    return {
        host: int(number) for host, number in re.findall(r"^(\S+) +: ok=\d+ +changed=(\d+)", done.output, re.MULTILINE)
    }


def run_role(
    host: Host, folder: Path, *more: str, tasks_from: str = "main", inventory: Path = INVENTORY, **inputs: Any
) -> Run:
    return run([*words(host.name, folder, tasks_from, **inputs), *more], inventory)
