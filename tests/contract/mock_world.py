# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The mock as a world: anybody changes its file by hand."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from contract.world import _DRIVER, FLEET, IMAGES, ROOT, Driver, World


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
            found.update(quiesced=None, description="by hand", owned=False, expires=None)

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

    def add_tpm(self, vm: str) -> str:
        with self.edit_vm(vm) as native:
            native["tpm"] = True
        path = f"/var/lib/libvirt/swtpm/{self.info(vm)['uuid']}/tpm2/tpm2-00.permall"
        with self.edit() as state:
            state["files"][path] = {"format": "raw", "size": 10 << 10}
        return path

    def use_tpm(self, path: str) -> None:
        self.write(path)
        self.spoil(path)

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
