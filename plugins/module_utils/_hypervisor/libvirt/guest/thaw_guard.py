# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A process of its own that thaws and resumes guests when the module cannot: killed, hung, or past the deadline.

The module starts one before its first freeze and speaks to it in lines: ``freeze UUID SECONDS TIMEOUT`` is answered
``armed`` and gives the guest until then; ``thawed UUID`` disarms it. ``hold UUID SECONDS`` and ``resumed UUID`` do the same for
a VM that is suspended. At end of file whatever is still armed is thawed and resumed.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

_PERSIST = 600.0  # seconds after a deadline for which thawing is tried again
_PERSIST_RESUMING = 86400.0  # a VM that is suspended does nothing at all: libvirtd may need somebody to start it
_PAUSE = 0.5
PAUSED = 3  # virDomainState
_NO_DOMAIN = 42  # virterror.h
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
        self._arm(f"freeze {uuid} {seconds} {agent_timeout}")

    def disarm(self, uuid: str) -> None:
        """Tell it that the guest is thawed."""
        with self._talk, suppress(OSError):  # it died: the guest is thawed all the same
            self._ask(f"thawed {uuid}")

    def arm_hold(self, uuid: str, seconds: float) -> None:
        """Have a VM resumed ``seconds`` from now where it is suspended then; raises `OSError` unless the guard stands ready."""
        self._arm(f"hold {uuid} {seconds}")

    def disarm_hold(self, uuid: str) -> None:
        """Tell it that the VM runs again."""
        with self._talk, suppress(OSError):  # it died: the VM runs all the same
            self._ask(f"resumed {uuid}")

    def close(self) -> None:
        """Let the guard end; it first thaws what is still armed."""
        with self._talk:
            if self._process and self._process.stdin:
                self._process.stdin.close()

    def _arm(self, line: str) -> None:
        with self._talk:
            if self._process is None:
                self._process = self._start()
            if self._ask(line) != "armed":
                raise OSError("the process that would thaw the guest in an emergency did not start")

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


_Rescue = tuple[Callable[..., None], tuple[Any, ...]]  # what lets a guest go on, and its arguments


class _Armed:
    """Guests to let go on and when; a thread of its own does that for each, since one agent may not answer for seconds.

    A guest stays armed until the module says that it goes on: a freeze that was held up may come after its deadline.
    """

    def __init__(self) -> None:
        self._armed: dict[str, tuple[float, _Rescue]] = {}
        self._threads: dict[str, threading.Thread] = {}

    def add(self, key: str, deadline: float, rescue: _Rescue) -> None:
        self._armed[key] = (deadline, rescue)

    def remove(self, key: str) -> None:
        self._armed.pop(key, None)

    def wait_time(self) -> float | None:
        if not self._armed:
            return None
        return max(0.0, min(deadline for deadline, _rescue in self._armed.values()) - time.monotonic())

    def rescue_overdue(self) -> None:
        now = time.monotonic()
        for key, (deadline, rescue) in self._armed.items():
            if deadline <= now:
                self._armed[key] = (now + _AGAIN, rescue)
                self._begin(key, rescue)

    def finish(self) -> None:
        """Let go on what is still armed, and wait for that."""
        for thread in list(self._threads.values()):
            thread.join()
        for key, (_deadline, rescue) in self._armed.items():
            self._begin(key, rescue)
        for thread in self._threads.values():
            thread.join()

    def _begin(self, key: str, rescue: _Rescue) -> None:
        running = self._threads.get(key)
        if running is None or not running.is_alive():
            work, arguments = rescue
            thread = threading.Thread(target=work, args=arguments)
            thread.start()
            self._threads[key] = thread


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


def resume_persistently(uri: str, uuid: str) -> None:
    """Resume until the VM is not suspended any more, or gone."""
    import libvirt  # the guard's process has checked that it is there

    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    end = time.monotonic() + _PERSIST_RESUMING
    while time.monotonic() < end:
        try:
            domain: Any = libvirt.open(uri).lookupByUUIDString(uuid)
            if domain.state()[0] != PAUSED:
                return
            domain.resume()
            return
        except libvirt.libvirtError as error:
            if error.get_error_code() == _NO_DOMAIN:
                return
            time.sleep(_PAUSE)


def main(uri: str) -> None:
    """Be the guard: obey lines from standard input until its end.

    Whoever ends the module's service ends its whole control group: the guard is to see the module's end, and then to act.
    """
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    armed = _Armed()
    stdin, buffer = sys.stdin.fileno(), b""
    while True:
        ready, _writable, _failed = select.select([stdin], [], [], armed.wait_time())
        if not ready:
            armed.rescue_overdue()
            continue
        chunk = os.read(stdin, 4096)
        if not chunk:
            break
        *lines, buffer = (buffer + chunk).split(b"\n")
        for line in lines:
            _obey(armed, uri, line.decode().split())
    armed.finish()


def _obey(armed: _Armed, uri: str, words: list[str]) -> None:
    answer, uuid = "armed", words[1]
    if words[0] == "freeze":
        rescue: _Rescue = (thaw_persistently, (uri, uuid, int(words[3])))
        armed.add(f"frozen {uuid}", time.monotonic() + float(words[2]), rescue)
    elif words[0] == "hold":
        armed.add(f"held {uuid}", time.monotonic() + float(words[2]), (resume_persistently, (uri, uuid)))
    else:
        armed.remove(f"{'frozen' if words[0] == 'thawed' else 'held'} {uuid}")
        answer = "disarmed"
    # The module may have been killed meanwhile; its end of file comes next.
    with suppress(BrokenPipeError):
        os.write(sys.stdout.fileno(), answer.encode() + b"\n")
