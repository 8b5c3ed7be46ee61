# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A control node and execution nodes of receptor on this machine, configured as the collection's examples are."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from receptorctl.socket_interface import ReceptorControl

from .guest import wait_for
from .guide_blocks import ROOT

PROGRAM = ROOT / "extensions/receptor/run_on_nodes.py"
NODES = ("exec-1", "exec-2")
# Whatever a node starts, wherever it goes, has this in its environment. Process groups do not do: receptor,
# ansible-runner and Ansible each open new ones.
_MARK = "LIMIQUANTIX_KVM_TEST_NODE"


class Mesh:
    """The nodes, by name; what a node keeps and says lies in a folder of its own."""

    def __init__(self, folder: Path, receptor: Path) -> None:
        self.folder, self._receptor = folder, receptor
        self.socket, self.tls, self.programs = folder / "receptor.sock", folder / "tls", folder / "bin"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._port = _free_port()
        for here in (self.tls, self.programs):
            here.mkdir()
        (self.programs / "receptor").symlink_to(receptor)
        for name in ("controller", *NODES):
            self._configure(name)

    def _configure(self, name: str) -> None:
        text = (PROGRAM.parent / ("control.conf" if name == "controller" else "execution.conf")).read_text("utf-8")
        own = {"/var/lib/receptor": f"{self.folder}/{name}", "/run/receptor.sock": str(self.socket)}
        own.update({"/etc/receptor": str(self.folder)})
        own["bindaddr: 0.0.0.0"] = "bindaddr: 127.0.0.1"
        own.update({"controller:7323": f"localhost:{self._port}", "port: 7323": f"port: {self._port}"})
        if name != "controller":
            own["exec-1"] = name
        for here, there in own.items():
            text = text.replace(here, there)
        (self.folder / f"{name}.conf").write_text(text)
        (self.folder / f"{name}-tmp").mkdir()

    def start(self, *names: str) -> None:
        """Start nodes; they are in the mesh when this returns."""
        for name in names:
            environment = {**os.environ, _MARK: self._mark(name), "TMPDIR": f"{self.folder}/{name}-tmp"}
            with (self.folder / f"{name}.log").open("ab") as log:
                words = [str(self._receptor), "--config", str(self.folder / f"{name}.conf")]
                self._processes[name] = subprocess.Popen(words, env=environment, stdout=log, stderr=log)
            if name == "controller":  # a node that finds nobody there asks again after five seconds only
                wait_for("the control node's answer", lambda: bool(self.ask("status")))
        wanted = {*self._processes} - {"controller"}
        wait_for(f"{wanted} in the mesh", lambda: wanted <= {*(self.ask("status").get("RoutingTable") or {})})

    def kill(self, name: str) -> None:
        """End a node and all that it started, as if its machine had lost its power."""
        process = self._processes.pop(name)
        process.kill()
        while pids := self._of(name):
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.wait()

    def close(self) -> None:
        for name in tuple(self._processes):
            self.kill(name)

    def _mark(self, name: str) -> str:
        return f"{self.folder}/{name}"

    def _of(self, name: str) -> list[int]:
        mark = f"{_MARK}={self._mark(name)}".encode()
        found = []
        for environ in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                if mark in environ.read_bytes().split(b"\0"):
                    found.append(int(environ.parent.name))
        return found

    def ask(self, command: str) -> dict[str, Any]:
        """Return the control node's answer; empty while it does not answer yet."""
        control = ReceptorControl(str(self.socket))
        try:
            answer: dict[str, Any] = control.simple_command(command)
            return answer
        except (OSError, ValueError):
            return {}
        finally:
            control.close()

    def running(self, name: str) -> str:
        """Return the command lines of all that a node has started."""
        lines = []
        for pid in self._of(name):
            with suppress(OSError):
                lines.append(Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode())
        return "\n".join(lines)

    def units(self) -> list[str]:
        """Return what receptor keeps of work, on any node."""
        return sorted(str(path) for name in ("controller", *NODES) for path in (self.folder / name).glob("*/*/stdin"))


class Running:
    """The program as an operator starts it; its lines as they come."""

    def __init__(self, words: list[str]) -> None:
        self.output = ""
        self.process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def read_until(self, wanted: str) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output += line
            if re.search(wanted, line):
                return
        raise AssertionError(f"it never said {wanted}:\n{self.output}")

    def end(self) -> int:
        assert self.process.stdout is not None
        self.output += self.process.stdout.read()
        return self.process.wait(60)


def became(output: str) -> dict[str, str]:
    """Return the line of each host at the end."""
    tail = output.rpartition("What each node said lies in")[2].splitlines()[1:-1]
    return dict(line.split(": ", 1) for line in tail)


@contextmanager
def started(words: list[str]) -> Iterator[Running]:
    running = Running(words)
    try:
        yield running
    finally:
        running.process.kill()
        running.process.wait()


def words(mesh: Mesh, folder: Path, *more: str, playbook: str = "limiquantix.kvm.snapshot") -> list[str]:
    return [sys.executable, str(PROGRAM), str(folder), "--playbook", playbook, "--socket", str(mesh.socket), *more]


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
