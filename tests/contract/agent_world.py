# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The small agent of the tests as a world: qx-node's API over HTTP."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Optional

from contract.world import _DRIVER, ROOT, Driver, _task


class AgentWorld:
    """The agent of tests/fixtures/agent on the loopback; its VMs are web01, off01 and tsc01, and no file of theirs is there."""

    name = "qx_node"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._program = _build_agent()
        self._process: Optional[subprocess.Popen[bytes]] = None
        self._driver: Optional[Driver] = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]

    def reset(self, misbehave: str = "") -> None:
        """Start the agent anew, which forgets every snapshot."""
        self._end()
        command = [str(self._program), "--dev", "--http-listen", f"127.0.0.1:{self.port}", "--misbehave", misbehave]
        self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        for _try in range(600):
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.05)
        raise AssertionError("the agent does not listen")

    def driver(self) -> Driver:
        path = os.pathsep.join([str(ROOT / ".cache/collections"), *sys.path])
        command = ["env", f"PYTHONPATH={path}", f"XDG_STATE_HOME={self._folder}", sys.executable, str(_DRIVER)]
        url = f"http://127.0.0.1:{self.port}"
        return Driver(command, {"backend": "qx_node", "url": url, "http_timeout": 2})

    def ask(self, call: str, vms: Any, check: bool = False, **options: Any) -> dict[str, Any]:
        """Do what a module does: call is snapshot, revert or remove."""
        return self._send(call, **_task(vms, check, options))

    def info(self, vm: str) -> dict[str, Any]:
        """Run vm_snapshot_info and return the VM's entry."""
        entry: dict[str, Any] = self._send("info", vms=[vm])["vms"][0]
        return entry

    def filesystems(self) -> Any:
        """Run vm_snapshot_info and return what it tells of file systems."""
        return self._send("info", vms=["*"])["filesystems"]

    def _send(self, call: str, **arguments: Any) -> dict[str, Any]:
        self._driver = self._driver or self.driver()
        self._driver.send(call, **arguments)
        return self._driver.answer()

    def close(self) -> None:
        self._end()
        if self._driver:
            self._driver.end()

    def _end(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()


def _build_agent() -> Path:
    workspace, target = ROOT / "tests/fixtures/agent", ROOT / ".cache/agent"
    command = [
        "cargo",
        "build",
        "--release",
        "--locked",
        "--offline",
        "-p",
        "limiquantix-node",
        "--target-dir",
        str(target),
    ]
    subprocess.run(command, cwd=workspace, check=True, capture_output=True)
    return target / "release/limiquantix-node"
