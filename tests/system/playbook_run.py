# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs `ansible` and `ansible-playbook` as an operator would, and keeps what vm_snapshot returned on every host."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Optional

from lab.api import Host, reset_vm
from lab.paths import INVENTORY

from .ansible_run import CALLBACKS

VMS = ("db01", "files01", "off01", "tsc01", "web01")
SNAPSHOT = ("ansible-playbook", "limiquantix.kvm.snapshot")
_CALLBACKS = (CALLBACKS, Path(__file__).resolve().parents[2] / "dev" / "demo" / "callback_plugins")


@dataclass(frozen=True)
class Run:
    """What an operator saw, and by host what vm_snapshot returned (of several such tasks the last)."""

    status: int
    output: str
    results: dict[str, dict[str, Any]]

    def said(self) -> str:
        """Return each host's line, or where none returned one all there was to be seen."""
        return "\n".join(f"{host}: {one.get('msg')}" for host, one in self.results.items()) or self.output

    def vms(self) -> dict[tuple[str, str], dict[str, Any]]:
        """Return every VM's entry, by host and name."""
        return {(host, vm["vm"]): vm for host, result in self.results.items() for vm in result["vms"]}


def run(words: Sequence[str], inventory: Path = INVENTORY, folder: Optional[Path] = None, timeout: float = 300) -> Run:
    """Run a command without a terminal, standing in ``folder``."""
    with _environment(inventory) as (environment, results):
        done = subprocess.run(
            words,
            check=False,
            timeout=timeout,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return Run(done.returncode, done.stdout, _read(results))


def run_on_terminal(words: Sequence[str], inventory: Path = INVENTORY, seconds: float = 300) -> Run:
    """Run a command on a terminal at which nobody sits; fails where it waits for somebody."""
    with _environment(inventory) as (environment, results):
        keyboard, terminal = pty.openpty()
        process = subprocess.Popen(
            words, env=environment, stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True
        )
        os.close(terminal)
        until = time.monotonic() + seconds
        try:
            seen = "".join(iter(lambda: _chunk(keyboard, until), ""))
            return Run(process.wait(60), seen, _read(results))
        finally:
            process.kill()
            process.wait()
            os.close(keyboard)


def reset_fleet(fleet: Sequence[Host]) -> None:
    """Make the lab's VMs pristine, on all hosts at once; a host may have others, of other tests."""
    with ThreadPoolExecutor(len(fleet)) as pool:
        list(pool.map(lambda host: reset_vm(host, *vms_of(host)), fleet))


def vms_of(host: Host) -> list[str]:
    """Return the VMs that the lab gives this host: those that all have, and one of its own."""
    return [*(vm for vm in VMS if host.invtsc or vm != "tsc01"), own_vm(host)]


def own_vm(host: Host) -> str:
    """Return the VM that no other host has."""
    return f"only-{host.spec.suite}"


@contextmanager
def _environment(inventory: Path) -> Iterator[tuple[dict[str, str], Path]]:
    with TemporaryDirectory() as folder:
        results = Path(folder, "results")
        environment = {
            **os.environ,
            "ANSIBLE_INVENTORY": str(inventory),
            "ANSIBLE_NOCOLOR": "true",
            "ANSIBLE_CALLBACK_PLUGINS": os.pathsep.join(map(str, _CALLBACKS)),
            "ANSIBLE_CALLBACKS_ENABLED": "keep_results,keep_payloads",
            "ANSIBLE_LOAD_CALLBACK_PLUGINS": "true",  # `ansible` would use its own only
            "LIMIQUANTIX_KVM_RESULTS": str(results),
        }
        yield environment, results


def _read(results: Path) -> dict[str, dict[str, Any]]:
    lines = results.read_text("utf-8").splitlines() if results.exists() else []
    return {result["host"]: result for result in map(json.loads, lines)}


def _chunk(keyboard: int, until: float) -> str:
    ready, _writable, _failed = select.select([keyboard], [], [], max(0.0, until - time.monotonic()))
    if not ready:
        raise AssertionError("it waits for something that nobody told it to ask")
    try:
        return os.read(keyboard, 65536).decode(errors="replace")
    except OSError:  # a terminal that nobody has open any more
        return ""
