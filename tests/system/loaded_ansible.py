# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Has `ansible` loaded, and forks for each run of it: loading is most of what a small run costs the controller.

Started as a program, it listens on a socket for as long as the process lives that started it. A run is a connection: its words in
JSON, a line; then what it says on stdout.
"""

from __future__ import annotations

import atexit
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from socketserver import ForkingMixIn, StreamRequestHandler, UnixStreamServer

_COMMAND = "cli.adhoc"
# Once, and not in every fork: the command, and what a run of it loads besides.
_LOADED = (
    _COMMAND,
    "executor.module_common",
    "plugins.action.normal",
    "plugins.connection.ssh",
    "plugins.strategy.linear",
)


class LoadedAnsible:
    """A process that has Ansible loaded, with these variables in its environment."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._socket = Path(self._folder.name, "socket")
        log = Path(self._folder.name, "log")
        with log.open("wb") as errors:  # Ansible goes with nothing that does not block: pytest's own stderr may be such
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(self._socket)],
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        atexit.register(self._end)
        assert self._process.stdout
        assert self._process.stdout.readline(), log.read_text("utf-8")

    def run(self, words: Sequence[str], timeout: float) -> tuple[str, str]:
        """Return what it says on stdout and on stderr.

        :raises TimeoutError: it says nothing for ``timeout`` seconds.
        """
        with socket.socket(socket.AF_UNIX) as connection, tempfile.NamedTemporaryFile("r+") as errors:
            connection.settimeout(timeout)
            connection.connect(str(self._socket))
            connection.sendall(json.dumps({"words": [*words], "errors": errors.name}).encode() + b"\n")
            with connection.makefile(encoding="utf-8") as said:
                return said.read(), errors.read()

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._folder.cleanup()


class _Run(StreamRequestHandler):
    """A run, in a process of its own."""

    def handle(self) -> None:
        asked = json.loads(self.rfile.readline())
        os.dup2(self.connection.fileno(), 1)
        os.dup2(os.open(asked["errors"], os.O_WRONLY), 2)
        sys.argv = asked["words"]
        try:
            import_module(f"ansible.{_COMMAND}").main()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()


class _Server(ForkingMixIn, UnixStreamServer):
    max_children = 100
    parent = os.getppid()

    def service_actions(self) -> None:
        """Reap what has ended; end with the process that started this one, however that ends."""
        super().service_actions()
        if os.getppid() != self.parent:
            sys.exit()


if __name__ == "__main__":
    for name in _LOADED:
        import_module(f"ansible.{name}")

    with _Server(sys.argv[1], _Run) as server:
        print("ready", flush=True)
        server.serve_forever()
