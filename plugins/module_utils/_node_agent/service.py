# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent as a service of the host's init: systemd or OpenRC."""

from __future__ import annotations

import re
import shutil
import stat
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Callable, Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.errors import DeployError, NotServing
from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.files import write_atomically

_STARTS = re.compile(r"\s*ExecStart\s*=\s*\S")
MARK = "# limiquantix.kvm.qx_node"  # in the service files that are ours
Run = Callable[[Sequence[str]], "tuple[int, str]"]


def is_marked(text: Optional[str]) -> bool:
    return MARK in (text or "").splitlines()[:2]


class Service(ABC):
    """A service of the host's init, by its name. Commands that fail are DeployErrors, but for stopping."""

    manager: str
    mode: int  # of the service's file

    def __init__(self, name: str, run: Run) -> None:
        self.name = name
        self.run = run

    @property
    @abstractmethod
    def own_file(self) -> Path:
        """Where ours goes."""

    @abstractmethod
    def file(self) -> Optional[Path]:
        """The one in force, whosever it is."""

    @abstractmethod
    def active(self) -> bool:
        """Whether the service runs."""

    @abstractmethod
    def enabled(self) -> bool:
        """Whether it starts with the host."""

    @abstractmethod
    def enable(self, wanted: bool) -> None:
        """Have it start with the host, or not."""

    @abstractmethod
    def reload(self) -> None:
        """Make a changed service file known."""

    @abstractmethod
    def restart(self) -> None:
        """Start it, or stop and start it."""

    @abstractmethod
    def stop(self) -> None:
        """Stop it."""

    def masked(self) -> bool:
        """Whether the host's operator has made it impossible to start."""
        return False

    def overridden(self, _program: str) -> Optional[str]:
        """Return the file of the host's operator that has another program started in its place; None where there is none."""
        return None

    def journal(self, _since: float) -> str:
        """Return what the init itself has kept of the service's words."""
        return ""

    def own_text(self) -> Optional[str]:
        return self.own_file.read_text("utf-8", errors="replace") if self.own_file.is_file() else None

    def text(self) -> Optional[str]:
        file = self.file()
        return file.read_text("utf-8", errors="replace") if file else None

    def own_mode(self) -> Optional[int]:
        return stat.S_IMODE(self.own_file.stat().st_mode) if self.own_file.is_file() else None

    def is_ours(self) -> bool:
        return is_marked(self.text())

    def differs(self, text: Optional[str]) -> bool:
        """Whether writing this text would change anything; None leaves the file alone."""
        return text is not None and (text != self.text() if text else self.own_file.is_file())

    def write(self, text: Optional[str], mode: Optional[int] = None) -> None:
        """Put this file where ours goes; without a text nothing is to be there, so that the host's own is in force."""
        if text:
            write_atomically(self.own_file, text, self.mode if mode is None else mode)
        else:
            self.own_file.unlink(missing_ok=True)
        self.reload()

    def do(self, *words: str) -> None:
        status, said = self.run(words)
        if status:
            raise NotServing(f"`{' '.join(words)}` failed with status {status}: {' '.join(said.split())[-500:]}")


class Systemd(Service):
    """Through systemctl."""

    manager = "systemd"
    mode = 0o644

    @property
    def own_file(self) -> Path:
        return Path(f"/etc/systemd/system/{self.name}.service")

    def _show(self, name: str) -> str:
        return self.run(["systemctl", "show", "--property", name, "--value", f"{self.name}.service"])[1].strip()

    def file(self) -> Optional[Path]:
        path = self._show("FragmentPath")
        return Path(path) if path and Path(path).is_file() else None

    def masked(self) -> bool:
        return self._show("LoadState") == "masked"

    def overridden(self, program: str) -> Optional[str]:
        for path in self._show("DropInPaths").split():
            with suppress(OSError):
                starts = [
                    line for line in Path(path).read_text("utf-8", errors="replace").splitlines() if _STARTS.match(line)
                ]
                if starts and not any(program in line for line in starts):
                    return path
        return None

    def active(self) -> bool:
        return self._show("ActiveState") in {"active", "reloading"}

    def enabled(self) -> bool:
        return self.run(["systemctl", "is-enabled", "--quiet", f"{self.name}.service"])[0] == 0

    def enable(self, wanted: bool) -> None:
        self.do("systemctl", "enable" if wanted else "disable", "--quiet", f"{self.name}.service")

    def reload(self) -> None:
        self.do("systemctl", "daemon-reload")

    def restart(self) -> None:
        self.run(["systemctl", "reset-failed", f"{self.name}.service"])  # else it may have been started too often
        self.do("systemctl", "restart", f"{self.name}.service")

    def stop(self) -> None:
        self.run(["systemctl", "stop", f"{self.name}.service"])

    def journal(self, _since: float) -> str:
        self.run(["journalctl", "--sync"])  # what an agent says right before it ends may not be stored yet
        words = ["--unit", f"{self.name}.service", "--since", f"@{int(_since)}", "--lines", "200", "--output", "cat"]
        return self.run(["journalctl", "--quiet", "--no-pager", *words])[1]


class OpenRC(Service):
    """Through rc-service."""

    manager = "openrc"
    mode = 0o755

    @property
    def own_file(self) -> Path:
        return Path(f"/etc/init.d/{self.name}")

    def file(self) -> Optional[Path]:
        return self.own_file if self.own_file.is_file() else None

    def active(self) -> bool:
        return self.run(["rc-service", self.name, "status"])[0] == 0

    def _runlevels(self) -> list[str]:
        return [entry.parent.name for entry in Path("/etc/runlevels").glob(f"*/{self.name}")]

    def enabled(self) -> bool:
        return bool(self._runlevels())

    def enable(self, wanted: bool) -> None:
        # Not "delete --all": that fails for each runlevel that the service is not in.
        for runlevel in ["default"] if wanted else self._runlevels():
            self.do("rc-update", "--quiet", "add" if wanted else "delete", self.name, runlevel)

    def reload(self) -> None:
        """OpenRC reads the file each time."""

    def restart(self) -> None:
        # Not "restart": of a service that has crashed it is a failure. And the old one must be gone before the next comes.
        self.stop()
        self.run(["rc-service", self.name, "zap"])
        self.do("rc-service", self.name, "start")

    def stop(self) -> None:
        self.run(["rc-service", self.name, "stop"])


def service_of(name: str, run: Run) -> Service:
    if Path("/run/systemd/system").is_dir():
        return Systemd(name, run)
    if shutil.which("rc-service"):
        return OpenRC(name, run)
    raise DeployError(
        "no_service_manager",
        "This host runs neither systemd nor OpenRC, so nothing can run qx-node as a service.",
        "Take the host out of the play.",
    )
