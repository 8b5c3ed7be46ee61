# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A process of its own that thaws guests when the module cannot: killed, hung, or past the freeze's deadline.

The module starts one before its first freeze and speaks to it in lines: ``freeze UUID SECONDS TIMEOUT`` is answered
``armed`` and gives the guest until then; ``thawed UUID`` disarms it. At end of file whatever is still armed is thawed.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import Any

_PERSIST = 600.0  # seconds after a deadline for which thawing is tried again
_PAUSE = 0.5
_AGAIN = 5.0
_START = (
    "import json, sys; uri, sys.path[:] = json.loads(sys.argv[1]); "
    "from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.guest.thaw_guard import main; main(uri)"
)


class ThawGuard:
    """The module's side: starts the process when first needed and tells it what is frozen."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._process: subprocess.Popen[str] | None = None
        self._talk = threading.Lock()

    def arm(self, uuid: str, seconds: float, agent_timeout: int) -> None:
        """Have the guest thawed ``seconds`` from now; raises `OSError` unless the guard stands ready.

        ``agent_timeout`` is the domain's own agent time limit, to be put back.
        """
        with self._talk:
            if self._process is None:
                self._process = self._start()
            if self._ask(f"freeze {uuid} {seconds} {agent_timeout}") != "armed":
                raise OSError("the process that would thaw the guest in an emergency did not start")

    def disarm(self, uuid: str) -> None:
        """Tell it that the guest is thawed."""
        with self._talk, suppress(OSError):  # it died: the guest is thawed all the same
            self._ask(f"thawed {uuid}")

    def close(self) -> None:
        """Let the guard end; it first thaws what is still armed."""
        with self._talk:
            if self._process and self._process.stdin:
                self._process.stdin.close()

    def _ask(self, line: str) -> str:
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise OSError("the thaw guard is not running")
        process.stdin.write(line + "\n")
        process.stdin.flush()
        return process.stdout.readline().strip()

    def _start(self) -> subprocess.Popen[str]:
        # A session of its own, no descriptor of the module's: it outlives a hang-up and holds up nobody's output.
        # pylint: disable-next=ansible-bad-function
        return subprocess.Popen(
            [sys.executable, "-c", _START, json.dumps([self._uri, sys.path])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd="/",
            text=True,
            start_new_session=True,
        )


class _Armed:
    """Guests to thaw and when; each is thawed by a thread of its own, since one agent may not answer for seconds.

    A guest stays armed until the module says that it is thawed: a freeze that was held up may come after its deadline.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._armed: dict[str, tuple[float, int]] = {}
        self._threads: dict[str, threading.Thread] = {}

    def add(self, uuid: str, deadline: float, agent_timeout: int) -> None:
        self._armed[uuid] = (deadline, agent_timeout)

    def remove(self, uuid: str) -> None:
        self._armed.pop(uuid, None)

    def wait_time(self) -> float | None:
        if not self._armed:
            return None
        return max(0.0, min(deadline for deadline, _timeout in self._armed.values()) - time.monotonic())

    def thaw_overdue(self) -> None:
        now = time.monotonic()
        for uuid, (deadline, agent_timeout) in self._armed.items():
            if deadline <= now:
                self._armed[uuid] = (now + _AGAIN, agent_timeout)
                self._thaw(uuid, agent_timeout)

    def finish(self) -> None:
        """Thaw what is still armed, and wait for every thaw."""
        for thread in list(self._threads.values()):
            thread.join()
        for uuid, (_deadline, agent_timeout) in self._armed.items():
            self._thaw(uuid, agent_timeout)
        for thread in self._threads.values():
            thread.join()

    def _thaw(self, uuid: str, agent_timeout: int) -> None:
        running = self._threads.get(uuid)
        if running is None or not running.is_alive():
            thread = threading.Thread(target=thaw_persistently, args=(self._uri, uuid, agent_timeout))
            thread.start()
            self._threads[uuid] = thread


def thaw_persistently(uri: str, uuid: str, agent_timeout: int) -> None:
    """Thaw until the agent says it is done, or the guest is gone: libvirtd may be restarting, the agent busy."""
    import libvirt  # the guard's process has checked that it is there

    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    end = time.monotonic() + _PERSIST
    while time.monotonic() < end:
        try:
            domain: Any = libvirt.open(uri).lookupByUUIDString(uuid)
            if not domain.isActive():
                return
            domain.fsThaw()
            domain.agentSetResponseTimeout(agent_timeout, 0)
            return
        except libvirt.libvirtError:
            time.sleep(_PAUSE)


def main(uri: str) -> None:
    """Be the guard: obey lines from standard input until its end."""
    armed = _Armed(uri)
    stdin, buffer = sys.stdin.fileno(), b""
    while True:
        ready, _writable, _failed = select.select([stdin], [], [], armed.wait_time())
        if not ready:
            armed.thaw_overdue()
            continue
        chunk = os.read(stdin, 4096)
        if not chunk:
            break
        *lines, buffer = (buffer + chunk).split(b"\n")
        for line in lines:
            _obey(armed, line.decode().split())
    armed.finish()


def _obey(armed: _Armed, words: list[str]) -> None:
    if words[0] == "freeze":
        armed.add(words[1], time.monotonic() + float(words[2]), int(words[3]))
        answer = "armed"
    else:
        armed.remove(words[1])
        answer = "disarmed"
    # The module may have been killed meanwhile; its end of file comes next.
    with suppress(BrokenPipeError):
        os.write(sys.stdout.fileno(), answer.encode() + b"\n")
