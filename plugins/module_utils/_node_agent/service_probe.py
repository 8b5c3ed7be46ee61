# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The proof that an agent serves: as a service, the right program, for a while, and well by its own word."""

from __future__ import annotations

import os
import time
from collections.abc import Container
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional
from urllib.parse import urlsplit

from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.errors import NotServing
from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.files import sha256_of
from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.health import Health
from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.service import Service


@dataclass
class Processes:
    """The agent's processes: those that run a file called like it, wherever that lies."""

    names: frozenset[str]
    known: dict[str, str] = field(default_factory=dict)

    def running(self) -> dict[int, tuple[str, str]]:
        """Return SHA-256 and path of the program by process."""
        found = {}
        for entry in filter(str.isdigit, os.listdir("/proc")):
            with suppress(OSError):  # it ended meanwhile, or has no program
                # A program that was replaced meanwhile is marked so.
                program = os.readlink(f"/proc/{entry}/exe").replace(" (deleted)", "")
                if os.path.basename(program) in self.names:
                    found[int(entry)] = (self._sha256(entry), program)
        return found

    def _sha256(self, pid: str) -> str:
        key = f"{pid} {_started(pid)}"
        if key not in self.known:
            self.known[key] = sha256_of(Path(f"/proc/{pid}/exe"))
        return self.known[key]

    @staticmethod
    def age(pid: int) -> float:
        return float(Path("/proc/uptime").read_text().split()[0]) - _started(pid) / os.sysconf("SC_CLK_TCK")


def _started(pid: str | int) -> int:
    """Return when a process was started, in ticks since the host's start."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


def listener(port: int) -> Optional[int]:
    """Return the process that listens on a TCP port of this host (proc_pid_net(5): the state 0A)."""
    sockets = set()
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                    sockets.add(f"socket:[{fields[9]}]")
    for entry in filter(str.isdigit, os.listdir("/proc")) if sockets else ():
        with suppress(OSError):  # it ended meanwhile
            for number in os.listdir(f"/proc/{entry}/fd"):
                with suppress(OSError):
                    if os.readlink(f"/proc/{entry}/fd/{number}") in sockets:
                        return int(entry)
    return None


@dataclass(frozen=True)
class Probe:
    """Whether the agent serves: it runs as a service, is the right program, stays, and says that it is well."""

    service: Service
    processes: Processes
    health: Health
    stay_up: float

    def prove(self, sha: str, seconds: float, to_appear: float, older: Container[int] = ()) -> str:
        """Return the version that serves, or raise NotServing: at once when the process ends, else after so many seconds.

        After a restart the ``older`` processes, of before it, are not the service's, whatever they run and answer.
        """
        started = time.monotonic()
        first: Optional[int] = None
        while True:
            passed = time.monotonic() - started
            ended = NotServing(f"its process ended after {passed:.0f} s")
            try:
                pid = self._process(sha, older)
            except NotServing as reason:
                if first is not None:
                    raise ended from reason
                if passed > to_appear:
                    raise
            else:
                if first not in (None, pid):
                    raise ended
                first = pid
                version = self._healthy_by(started + seconds, older)
                if version is not None and self.processes.age(pid) >= self.stay_up:
                    return version
            time.sleep(0.2)

    def in_the_way(self, older: Container[int] = ()) -> str:
        """Tell in a sentence which process that is not the service's has the port of the health URL; "" where none does."""
        try:
            pid = self._listener()
            if pid is None or (pid not in older and pid in self.processes.running()):
                return ""
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except (OSError, ValueError):
            return ""
        return f" Process {pid} ({command[:200]}) listens on the port of {self.health.url}: stop it, or choose another port."

    def _listener(self) -> Optional[int]:
        address = urlsplit(self.health.url)
        return listener(address.port or (443 if address.scheme == "https" else 80))

    def _process(self, sha: str, older: Container[int]) -> int:
        running = self.processes.running()
        right = sorted(pid for pid, (its_sha, _program) in running.items() if its_sha == sha and pid not in older)
        if not self.service.active():
            raise NotServing(f"the service {self.service.name} does not keep running")
        if not right:
            others = ", ".join(
                f"process {pid} runs {program}{' since before the restart' if pid in older else ''}"
                for pid, (_sha, program) in running.items()
            )
            raise NotServing(f"the service {self.service.name} does not run it ({others or 'no process runs qx-node'})")
        return right[0]

    def _healthy_by(self, deadline: float, older: Container[int]) -> Optional[str]:
        try:
            version = self.health.ask()
            pid = self._listener() if older else None
            if pid is not None and pid in older:
                raise NotServing(
                    f"process {pid}, which ran before the restart, answers at {self.health.url} in its place"
                )
            return version
        except NotServing:
            if time.monotonic() > deadline:
                raise
            return None
