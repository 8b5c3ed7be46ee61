# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A hypervisor as the contract's tests see it: what the collection does there, and what anybody else can do to it."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Optional

from lab import ssh
from lab.api import Host, reset_vm

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
        return answer

    def end(self) -> None:
        """End as a run does whose process is killed."""
        self._process.kill()
        self._process.communicate()


class World(ABC):
    """One hypervisor with the VMs web01, db01, off01, files01 and tsc01."""

    name: str
    invtsc = True  # whether tsc01 is there

    def __init__(self) -> None:
        self._driver: Optional[Driver] = None

    def snapshot(self, vms: Any, name: str, check: bool = False, **options: Any) -> dict[str, Any]:
        """Run vm_snapshot and return its result."""
        patterns = [vms] if isinstance(vms, str) else vms
        return self._ask("snapshot", vms=patterns, name=name, check=check, **options)

    def info(self, vm: str) -> dict[str, Any]:
        """Run vm_snapshot_info and return the VM's entry."""
        entry: dict[str, Any] = self._ask("info", vms=[vm])["vms"][0]
        return entry

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
    def files(self, vm: str) -> list[str]:
        """Return the files in the VM's image directory that are named after it."""

    @abstractmethod
    def remove_file(self, path: str) -> None:
        """Remove an image."""

    @abstractmethod
    def directory(self, kind: str) -> Any:
        """Give, in a context, the path of a directory: missing, read_only, full or good."""


class MockWorld(World):
    """The mock, in a process of its own as well: its locks must hold between processes."""

    name = "mock"

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._path = folder / "fleet.json"
        self._path.write_text(FLEET.read_text())

    def driver(self) -> Driver:
        path = os.pathsep.join([str(ROOT / ".cache/collections"), *sys.path])
        command = ["env", f"PYTHONPATH={path}", sys.executable, str(_DRIVER)]
        return Driver(command, {"backend": "mock", "mock_path": str(self._path)})

    def reset(self, *vms: str) -> None:
        pristine = json.loads(FLEET.read_text())
        with self.edit() as state:
            chosen = vms or [vm["name"] for vm in pristine["vms"]]
            state["vms"] = [vm for vm in state["vms"] if vm["name"] not in chosen]
            state["vms"] += [vm for vm in pristine["vms"] if vm["name"] in chosen]
            for path in list(state["files"]):
                if path not in pristine["files"] and Path(path).name.startswith(tuple(chosen)):
                    del state["files"][path]

    @contextmanager
    def edit(self) -> Iterator[dict[str, Any]]:
        state = json.loads(self._path.read_text())
        try:
            yield state
        finally:
            self._path.write_text(json.dumps(state))

    @contextmanager
    def edit_vm(self, vm: str) -> Iterator[dict[str, Any]]:
        with self.edit() as state:
            yield {one["name"]: one for one in state["vms"]}[vm]

    def state(self, vm: str) -> str:
        with self.edit_vm(vm) as native:
            return str(native.get("state", "running"))

    def pause(self, vm: str) -> None:
        with self.edit_vm(vm) as native:
            native["state"] = "paused"

    def make_transient(self, vm: str) -> None:
        with self.edit_vm(vm) as native:
            native["persistent"] = False

    def start_block_job(self, vm: str, target: str) -> None:
        with self.edit_vm(vm) as native:
            next(disk for disk in native["disks"] if disk["target"] == target)["block_job"] = True

    def branch(self, vm: str) -> None:
        self.snapshot(vm, "s1")
        self.snapshot(vm, "s2")
        overlay = f"{IMAGES}/{vm}.vda.s1-again.qcow2"
        with self.edit() as state:
            native = next(one for one in state["vms"] if one["name"] == vm)
            base = next(one for one in native["snapshots"] if one["name"] == "s2")["disks"][0]["file"]
            state["files"][overlay] = dict(state["files"][base])
            native["disks"][0]["source"] = overlay
            native["current"] = "s1"

    def take_anew(self, vm: str, name: str) -> None:
        with self.edit_vm(vm) as native:
            found = next(one for one in native["snapshots"] if one["name"] == name)
            found.update(quiesced=None, description="by hand")

    def files(self, vm: str) -> list[str]:
        with self.edit() as state:
            return sorted(path for path, entry in state["files"].items() if entry and Path(path).name.startswith(vm))

    def remove_file(self, path: str) -> None:
        with self.edit() as state:
            state["files"][path] = None

    @contextmanager
    def directory(self, kind: str) -> Iterator[str]:
        path = f"/srv/{kind}"
        entries = {"read_only": {"read_only": True}, "full": {"total": 1 << 20, "free": 1 << 10}, "good": {}}
        with self.edit() as state:
            if kind in entries:
                state["directories"][path] = entries[kind]
        yield path


class LibvirtWorld(World):
    """One hypervisor of the lab."""

    def __init__(self, host: Host) -> None:
        super().__init__()
        self.name = host.name
        self.invtsc = host.invtsc
        self.host = host
        self.home = host.run("mktemp -d /run/limiquantix-kvm.XXXXXX").stdout.strip()
        host.run(["chmod", "755", self.home])
        command = [*ssh.command(host.name), f"tar -x -C {self.home}"]
        subprocess.run(command, input=_collection(), check=True)

    def driver(self) -> Driver:
        command = f"PYTHONPATH={self.home} exec python3 {self.home}/{_DRIVER.name}"
        return Driver([*ssh.command(self.host.name), command], {"backend": "libvirt", "uri": "qemu:///system"})

    def close(self) -> None:
        super().close()
        self.host.run(f"rm -rf {self.home}")

    def reset(self, *vms: str) -> None:
        reset_vm(self.host, *vms)

    def state(self, vm: str) -> str:
        return self.host.virsh("domstate", vm).strip().replace(" ", "")

    def pause(self, vm: str) -> None:
        self.host.virsh("suspend", vm)

    def make_transient(self, vm: str) -> None:
        self.host.virsh("undefine", vm)

    def start_block_job(self, vm: str, target: str) -> None:
        copy = f"{IMAGES}/{vm}-copy.qcow2"
        self.host.virsh("blockcopy", vm, target, copy, "--transient-job", "--format", "qcow2")

    def branch(self, vm: str) -> None:
        for name in ("s1", "s2"):  # inside the image: every libvirt goes back to such a one
            self.host.virsh("snapshot-create-as", vm, name)
        self.host.virsh("snapshot-revert", vm, "s1")

    def take_anew(self, vm: str, name: str) -> None:
        self.host.virsh("snapshot-delete", vm, name, "--metadata")
        time.sleep(1.1)  # snapshots of one second cannot be told apart
        overlay = f"vda,file={IMAGES}/{vm}-by-hand-{name}"
        self.host.virsh("snapshot-create-as", vm, name, "by hand", "--disk-only", "--diskspec", overlay)

    def files(self, vm: str) -> list[str]:
        return self.host.run(f"ls -d {IMAGES}/{vm}*").stdout.split()

    def remove_file(self, path: str) -> None:
        self.host.run(["rm", path])

    @contextmanager
    def directory(self, kind: str) -> Iterator[str]:
        path = f"{IMAGES}/contract-{kind}"
        options = {"read_only": "ro,size=64m", "full": "size=1m"}.get(kind)
        if kind != "missing":
            self.host.run(["mkdir", "-p", path])
        if options:
            self.host.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", path])
        yield path
        if options:
            self.host.run(["umount", path])
        if kind != "missing":
            self.host.run(["rm", "-rf", path])


def _collection() -> bytes:
    """Pack what runs on a hypervisor."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(
            ROOT / "plugins/module_utils",
            "ansible_collections/limiquantix/kvm/plugins/module_utils",
            filter=lambda entry: None if "__pycache__" in entry.name else entry,
        )
        archive.add(_DRIVER, _DRIVER.name)
    return buffer.getvalue()
