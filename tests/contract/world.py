# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A hypervisor as the contract's tests see it: what the collection does there, and what anybody else can do to it."""

from __future__ import annotations

import json
import subprocess
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Optional

from contract.details import check

ROOT = Path(__file__).resolve().parents[2]
FLEET = ROOT / "tests/fixtures/mock/fleet.json"
IMAGES = "/var/lib/libvirt/images"
_DRIVER = Path(__file__).with_name("driver.py")


class Driver:
    """The process that runs the collection's code where the hypervisor is."""

    def __init__(self, command: list[str], where: dict[str, Any]) -> None:
        self._where = where
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def send(self, call: str, **arguments: Any) -> None:
        """Ask without waiting; `answer` has what comes of it."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps({"call": call, "where": self._where, **arguments}) + "\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line, f"the driver ended with status {self._process.wait()}"
        answer: dict[str, Any] = json.loads(line)
        check(self._where.get("backend", "libvirt"), answer)  # the soak drives libvirt only
        return answer

    def end(self) -> None:
        """End as a run does whose process is killed."""
        self._process.kill()
        self._process.communicate()


class World(ABC):
    """One hypervisor with the VMs web01, db01, off01, files01 and tsc01."""

    name: str
    invtsc = True  # whether tsc01 is there
    tpm = True  # whether a VM can have an emulated TPM

    def __init__(self) -> None:
        self._driver: Optional[Driver] = None

    def snapshot(self, vms: Any, name: str, check: bool = False, **options: Any) -> dict[str, Any]:
        """Run vm_snapshot and return its result."""
        return self._ask("snapshot", name=name, **_task(vms, check, options))

    def revert(self, vms: Any, name: str, check: bool = False, **options: Any) -> dict[str, Any]:
        """Run vm_snapshot with state reverted and return its result."""
        return self._ask("revert", name=name, **_task(vms, check, options))

    def remove(self, vms: Any, name: str = "", check: bool = False, **options: Any) -> dict[str, Any]:
        """Run vm_snapshot with state absent and return its result."""
        return self._ask("remove", name=name, **_task(vms, check, options))

    def prune(self, vms: Any, check: bool = False, **options: Any) -> dict[str, Any]:
        """Run vm_snapshot_prune and return its result; ``at`` is the time that it takes for now."""
        return self._ask("prune", **_task(vms, check, options))

    def group(self, vms: Any, name: str, step: str, check: bool = False, **options: Any) -> dict[str, Any]:
        """Do a step of a group's snapshot for its members here; its moments are seconds from now on."""
        return self._ask("group", **_task(vms, check, {"name": name, "step": step, **options}))

    def info(self, vm: str, **options: Any) -> dict[str, Any]:
        """Run vm_snapshot_info and return the VM's entry."""
        entry: dict[str, Any] = self._ask("info", vms=[vm], **options)["vms"][0]
        return entry

    def filesystems(self, *vms: str) -> list[dict[str, Any]]:
        """Run vm_snapshot_info and return the file systems with these VMs' images."""
        found: list[dict[str, Any]] = self._ask("info", vms=vms)["filesystems"]
        return found

    def _ask(self, call: str, **arguments: Any) -> dict[str, Any]:
        if self._driver is None:
            self._driver = self.driver()
        self._driver.send(call, **arguments)
        return self._driver.answer()

    def close(self) -> None:
        if self._driver:
            self._driver.end()

    @abstractmethod
    def driver(self) -> Driver:
        """Start one more process that runs the collection there."""

    @abstractmethod
    def reset(self, *vms: str) -> None:
        """Make VMs pristine; all without a name."""

    @abstractmethod
    def state(self, vm: str) -> str:
        """Return the VM's state by the hypervisor's own word."""

    @abstractmethod
    def pause(self, vm: str) -> None:
        """Pause a VM, as an operator would; `reset` ends it."""

    @abstractmethod
    def make_transient(self, vm: str) -> None:
        """Make a running VM transient."""

    @abstractmethod
    def start_block_job(self, vm: str, target: str) -> None:
        """Start a copy of a disk that does not end by itself."""

    @abstractmethod
    def branch(self, vm: str) -> None:
        """Give a pristine shut-off VM the snapshots s1 and its child s2, and go back to s1."""

    @abstractmethod
    def take_anew(self, vm: str, name: str) -> None:
        """Forget a snapshot and take another of the same name, by other means than this collection's."""

    @abstractmethod
    def take_outside(self, vm: str, name: str) -> None:
        """Take a disk-only snapshot of a VM's disk vda in overlays, by other means than this collection's."""

    @abstractmethod
    def take_inside(self, vm: str, name: str) -> None:
        """Take a snapshot of a shut-off VM with one disk inside its image, by other means than this collection's."""

    @abstractmethod
    def power_off(self, vm: str) -> None:
        """Power a VM off hard."""

    @abstractmethod
    def write(self, path: str) -> None:
        """Write something to an overlay that nobody uses at the moment, as a guest would."""

    @abstractmethod
    def spoil(self, path: str) -> None:
        """Write to an image that a snapshot has frozen, as somebody would who knows of no snapshot."""

    @abstractmethod
    def fingerprint(self, path: str) -> str:
        """Return what changes with an image's content."""

    @abstractmethod
    def build_upon(self, vm: str, path: str) -> str:
        """Make an overlay on an image, as somebody might for a clone; return its path, which is named after the VM."""

    @abstractmethod
    def attach_disk(self, vm: str, target: str) -> None:
        """Give a VM one more disk; `reset` takes it away."""

    @abstractmethod
    def detach_disk(self, vm: str, target: str) -> None:
        """Take a disk away from a shut-off VM."""

    @abstractmethod
    def add_tpm(self, vm: str) -> str:
        """Give a shut-off VM a TPM that holds something, and return its file; `reset` takes it away."""

    @abstractmethod
    def use_tpm(self, path: str) -> None:
        """Have the TPM with this file hold something else."""

    @abstractmethod
    def save_memory(self, vm: str) -> None:
        """Save the memory of a running VM for its next start, which turns it off; `reset` ends it."""

    @abstractmethod
    def interrupt(self, vm: str, kind: str, snapshot: str) -> None:
        """Leave what a run leaves that was killed when it had noted what it was about to do."""

    @abstractmethod
    def files(self, vm: str) -> list[str]:
        """Return the files in the VM's image directory that are named after it."""

    @abstractmethod
    def remove_file(self, path: str) -> None:
        """Remove an image."""

    @abstractmethod
    def directory(self, kind: str) -> Any:
        """Give, in a context, the path of a directory: missing, read_only, full or good."""


def _task(vms: Any, check: bool, options: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call: the limits of the task apart from what it wants."""
    limits = {key: options.pop(key) for key in ("parallel", "timeout", "running_only", "missing") if key in options}
    return {"vms": [vms] if isinstance(vms, str) else vms, "check": check, "limits": limits, **options}
