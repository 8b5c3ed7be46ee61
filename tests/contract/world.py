# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A hypervisor as the contract's tests see it: what the collection does there, and what anybody else can do to it."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
import tarfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Optional

from lab import ssh
from lab.api import Host, reset_vm

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
            found.update(quiesced=None, description="by hand", owned=False)

    def take_outside(self, vm: str, name: str) -> None:
        self.snapshot(vm, name, disks=["vda"], quiesce="never")
        self.take_anew(vm, name)

    def take_inside(self, vm: str, name: str) -> None:
        with self.edit_vm(vm) as native:
            parent, image = native.get("current"), native["disks"][0]["source"]
            disks = [{"target": "vda", "base": image}]
            taken = {"name": name, "kind": "internal", "state": "shutoff", "parent": parent, "disks": disks}
            native.setdefault("snapshots", []).append(taken)
            native["current"] = name

    def power_off(self, vm: str) -> None:
        with self.edit_vm(vm) as native:
            native["state"] = "shutoff"

    def write(self, path: str) -> None:
        with self.edit() as state:
            state["files"][path]["size"] += 1 << 16

    def spoil(self, path: str) -> None:
        later = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(seconds=1)  # than all of this second
        with self.edit() as state:
            state["files"][path]["changed"] = later.isoformat()

    def fingerprint(self, path: str) -> str:
        with self.edit() as state:
            return json.dumps(state["files"][path])

    def build_upon(self, vm: str, path: str) -> str:
        overlay = f"{IMAGES}/{vm}-clone.qcow2"
        with self.edit() as state:
            state["files"][overlay] = {"format": "qcow2", "size": 1 << 18, "backing_file": path}
        return overlay

    def attach_disk(self, vm: str, target: str) -> None:
        with self.edit_vm(vm) as native:
            native["disks"].append({"target": target, "source": f"{IMAGES}/{vm}-{target}.qcow2"})

    def detach_disk(self, vm: str, target: str) -> None:
        with self.edit_vm(vm) as native:
            native["disks"] = [disk for disk in native["disks"] if disk["target"] != target]

    def save_memory(self, vm: str) -> None:
        with self.edit_vm(vm) as native:
            native.update(state="shutoff", managed_save=True)

    def interrupt(self, vm: str, kind: str, snapshot: str) -> None:
        with self.edit_vm(vm) as native:
            native["operation"] = {"kind": kind, "snapshot": snapshot, "started_at": "2026-11-23T12:00:00+00:00"}

    def files(self, vm: str) -> list[str]:
        with self.edit() as state:
            images: dict[str, Any] = {disk["source"]: {} for native in state["vms"] for disk in native["disks"]}
            there = [path for path, entry in {**images, **state["files"]}.items() if entry is not None]
            return sorted(path for path in there if Path(path).name.startswith(vm))

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

    def take_outside(self, vm: str, name: str) -> None:
        others = [disk["target"] for disk in self.info(vm)["chains"] if disk["target"] != "vda"]
        specs = [f"vda,file={IMAGES}/{vm}-outside-{name}", *(f"{target},snapshot=no" for target in others)]
        options = [word for spec in specs for word in ("--diskspec", spec)]
        self.host.virsh("snapshot-create-as", vm, name, "by hand", "--disk-only", *options)

    def take_inside(self, vm: str, name: str) -> None:
        self.host.virsh("snapshot-create-as", vm, name, "by hand")

    def power_off(self, vm: str) -> None:
        self.host.virsh("destroy", vm)

    def write(self, path: str) -> None:
        self.host.run(["qemu-io", "-f", "qcow2", "-c", "write -P 7 0 64k", path])

    def spoil(self, path: str) -> None:
        self.write(path)

    def fingerprint(self, path: str) -> str:
        return self.host.run(["sha256sum", path]).stdout.split()[0]

    def build_upon(self, vm: str, path: str) -> str:
        overlay = f"{IMAGES}/{vm}-clone.qcow2"
        self.host.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", path, "-F", "qcow2", overlay])
        return overlay

    def attach_disk(self, vm: str, target: str) -> None:
        path = f"{IMAGES}/{vm}-{target}.qcow2"
        self.host.run(["qemu-img", "create", "-q", "-f", "qcow2", path, "1M"])
        options = ["--driver", "qemu", "--subdriver", "qcow2", "--config"]
        live = ["--live"] if self.state(vm) == "running" else []
        self.host.virsh("attach-disk", vm, path, target, *options, *live)

    def detach_disk(self, vm: str, target: str) -> None:
        self.host.virsh("detach-disk", vm, target, "--config")

    def save_memory(self, vm: str) -> None:
        self.host.virsh("managedsave", vm)

    def interrupt(self, vm: str, kind: str, snapshot: str) -> None:
        self._ask("plant", vm=vm, kind=kind, snapshot=snapshot, power="shutoff" if kind == "revert" else "")

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
