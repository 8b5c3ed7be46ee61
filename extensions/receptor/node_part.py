# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one execution node does, as far as receptor lets it be heard."""

# Measured with receptor 1.5.5, receptorctl 1.6.9 and ansible-runner 2.4.3:
# * A node whose receptor is killed leaves the RoutingTable of `status` within half a second; one that stands still, after 25.
#   KnownConnectionCosts keeps it: nothing to go by. Its work unit is Running for ever, and `work results` never ends.
# * If only receptor was away and the run went on, the results go on too: 24 seconds after a node that was away for 30 is back.
# * If the run was killed too and the node is back, its receptor says Running for ever. So a node that is back must be
#   heard again; `ansible-runner worker --keepalive-seconds` is heard while a long task says nothing.
# * `work release` of a lost node's unit says "release pending": receptor ends and removes it, there and here, when it is back.
# * `work release` of a run that goes on ends ansible-runner there; the task that a host is at goes on to its end.
# * `ansible-runner process` takes the end of a cut stream for an error of the node, and keeps the events that came before it.

from __future__ import annotations

import io
import re
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Callable, Optional

import ansible_runner
from receptorctl.socket_interface import ReceptorControl

_SILENCE = 30.0  # seconds at least, six times the keepalive of execution.conf: a busy node is not a lost one
COLOR = re.compile(r"\x1b\[[0-9;]*m")
_OF_A_TASK = {
    "runner_on_start": "begun",
    "runner_on_ok": "ended",
    "runner_on_skipped": "ended",
    "runner_on_failed": "failed",
    "runner_on_unreachable": "unreachable",
}
_BAD = ("failed", "unreachable")


def ask(address: str, command: str) -> dict[str, Any]:
    control = ReceptorControl(address)
    try:
        answer: dict[str, Any] = control.simple_command(command)
        return answer
    finally:
        control.close()


def reachable(address: str) -> set[str]:
    status = ask(address, "status")
    return {*(status["RoutingTable"] or {}), status["NodeID"]}


class Stream(io.RawIOBase):
    """What a work unit writes, as it comes, and when something came last."""

    def __init__(self, address: str, unit: str) -> None:
        self._socket, self._file = ReceptorControl(address).get_work_results(unit, return_socket=True)
        self.heard_at = time.monotonic()
        self.keeps_alive = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        got: int = self._file.readinto1(buffer)
        self.heard_at = time.monotonic()
        self.keeps_alive = self.keeps_alive or b'"keepalive"' in bytes(buffer[:got])
        return got

    def cut(self) -> None:
        with suppress(OSError):  # it has ended by itself
            self._socket.shutdown(socket.SHUT_RDWR)


class Part:
    """What one node does, and what was heard of it."""

    def __init__(self, node: str, limit: str, hosts: set[str], last_task: str, check: bool = False) -> None:
        self.node, self.limit, self.hosts = node, limit, hosts
        self._last_task = last_task
        self._changed = "would change" if check else "changed"
        self.unit = ""
        self._stream: Optional[Stream] = None
        self._away_since = self._back_since = 0.0
        self._broke_off = ""  # why, in words
        self._totals: dict[str, Any] = {}  # Ansible's own, at the end
        self._task = ""  # the last that was begun for any host
        self._last: dict[str, tuple[str, str]] = {}  # of each host: its last task, and how it ended
        self._why: dict[str, str] = {}
        self._last_line = ""

    def run(self, send: Callable[[str, str], str], address: str, results: Path) -> None:
        try:
            self.unit = send(self.node, self.limit)
            self._stream = Stream(address, self.unit)
            ansible_runner.run(
                streamer="process", _input=io.BufferedReader(self._stream), private_data_dir=str(results),
                artifact_dir=str(results), quiet=True, event_handler=self._event,
            )  # fmt: skip
            if not self._totals and not self._broke_off:
                said = f"{ask(address, f'work status {self.unit}')['Detail']}. {self._last_line}"
                self._broke_off = f"the run on {self.node} broke off ({said.strip()})"
        except (OSError, RuntimeError, ValueError) as error:
            self._broke_off = self._broke_off or f"no word from {self.node} any more ({error})"

    def watch(self, nodes: set[str], patience: float) -> None:
        """Give the node up if receptor has not reached it for so long, or nothing was heard where something should be."""
        now = time.monotonic()
        if self.node not in nodes:
            self._away_since = self._away_since or now
        elif self._away_since:
            self._away_since, self._back_since = 0.0, now
        stream = self._stream
        heard = now
        if stream and (stream.keeps_alive or self._back_since):
            heard = max(stream.heard_at, self._back_since)
        if self._away_since and now - self._away_since >= patience:
            self.give_up(f"its node {self.node} was lost")
        elif now - heard >= max(patience, _SILENCE):
            self.give_up(f"its node {self.node} was lost: it says nothing any more")

    def give_up(self, why: str) -> None:
        self._broke_off = self._broke_off or why
        if self._stream:
            self._stream.cut()

    def release(self, address: str) -> None:
        """Let receptor end and forget the work unit, here and on the node."""
        try:
            if self.unit and "released" not in ask(address, f"work release {self.unit}"):
                print(
                    f"{self.node}: when it is back, receptor removes the work unit {self.unit} there and here. If it never is: "
                    f"receptorctl --socket {address} work force-release {self.unit}"
                )
        except (OSError, RuntimeError, ValueError) as error:
            print(f"{self.node}: the work unit {self.unit} is left: {error}")

    def became(self, host: str) -> tuple[str, str]:
        """Return what became of a host, in one word, and why."""
        task, how = self._last.get(host, ("", ""))
        if not self._totals and how in _BAD:
            return how, self._why[host]
        if not self._totals:
            heard = f'the host had {how} "{task}"' if task else "of the host nothing was heard"
            return "unknown", f"{self._broke_off}; {heard}. Run again with the same name"
        if self._totals["dark"].get(host):
            return "unreachable", self._why.get(host, "")
        if self._totals["failures"].get(host):
            return "failed", self._why.get(host, "")
        # Ansible counts no failure of a host which it leaves because another one failed: run_once, any_errors_fatal.
        bad = {*self._totals["dark"], *self._totals["failures"]}
        if host not in self._totals["processed"] or (bad and self._task != self._last_task):
            return "failed", f"not finished: the run on {self.node} ended early, because of {', '.join(sorted(bad))}"
        return "done", self._changed if self._totals["changed"].get(host) else "nothing changed"

    def _event(self, event: dict[str, Any]) -> bool:
        for line in COLOR.sub("", event.get("stdout") or "").splitlines():
            print(f"{self.node} | {line}", flush=True)
            self._last_line = line.strip() or self._last_line
        data = event.get("event_data", {})
        if event["event"] in _OF_A_TASK:
            how = "ended" if data.get("ignore_errors") else _OF_A_TASK[event["event"]]
            self._last[data["host"]] = (data["task"], how)
            if how in _BAD:
                self._why[data["host"]] = " ".join(str((data.get("res") or {}).get("msg", "")).split())[:300]
        elif event["event"] == "playbook_on_task_start":
            self._task = data["name"]
        elif event["event"] == "playbook_on_stats":
            self._totals = data
        return True
