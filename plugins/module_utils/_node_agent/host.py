# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host and its agent: all parts together, and what is asked of the host itself."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, TextIO

from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.elf_binary import Here, made_for, unfit
from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.errors import DeployError
from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.releases import Releases
from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.service import Run, Service
from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.service_probe import Probe


@dataclass(frozen=True)
class Unfinished:
    """What was there before a change that is under way; kept in a file from before its first step to after its last."""

    to: str
    release: Optional[str]
    own_file: Optional[str]  # the text of the service file where ours goes
    changes_service_file: bool
    own_mode: Optional[int] = None
    host_file: bool = False  # whether the file in force was the host's own, there or elsewhere
    enabled: Optional[bool] = None  # whether it started with the host; None in what an earlier version has noted


@dataclass(frozen=True)
class Host:
    """All of it together."""

    releases: Releases
    service: Service
    probe: Probe
    run: Run
    params: dict[str, Any]

    @property
    def unfinished_file(self) -> Path:
        return self.releases.base / "unfinished.json"

    def unfinished(self) -> Optional[Unfinished]:
        with suppress(FileNotFoundError):
            return Unfinished(**json.loads(self.unfinished_file.read_text("utf-8")))
        return None

    @contextmanager
    def alone(self) -> Iterator[None]:
        """One change at a time: another's may still go on after its controller died."""
        deadline = time.monotonic() + 60 + 2 * (self.params["health_timeout"] + self.params["stay_up"])
        while (lock := self._lock()) is None:
            if time.monotonic() > deadline:
                raise DeployError(
                    "locked",
                    "Another run is changing qx-node on this host.",
                    "Run it again when that has ended.",
                )
            time.sleep(0.2)
        with lock:
            yield

    def _lock(self) -> Optional[TextIO]:
        """Return the open lock; None where another run has it, or has just deleted it with all else."""
        self.releases.base.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            lock = stack.enter_context((self.releases.base / "lock").open("w"))
            with suppress(BlockingIOError, FileNotFoundError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(lock.fileno()), os.stat(lock.name)):
                    stack.pop_all()
                    return lock
        return None

    def vms(self) -> Optional[set[str]]:
        """Return the names of the running VMs; None where libvirt does not tell."""
        if not shutil.which("virsh"):
            return set()
        # A shell, since a run's answer is all that was said, and a warning is no name of a VM.
        asked = 'exec virsh -q -c "$1" list --name 2>/dev/null'
        status, said = self.run(["sh", "-c", asked, "virsh", self.params["libvirt_uri"]])
        return set(said.split("\n")) - {""} if status == 0 else None

    def version(self, sha: str) -> str:
        """Try the release; raise DeployError where this host cannot run it."""
        status, said = self.run([str(self.releases.binary(sha)), "--version"])
        if status == 0:
            return said.strip().split("\n")[0]
        reason = unfit(made_for(self.releases.binary(sha)), Here.now())
        raise does_not_run(reason or " ".join(said.split())[-300:] or f"--version ends with status {status}")


def does_not_run(reason: str) -> DeployError:
    return DeployError(
        "does_not_run",
        f"The new release does not run on this host: {reason}. Nothing was changed on this host.",
        "Build it for this host's architecture and libc (qx_node_target), or link it statically.",
    )
