# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values for tests, with only what a test is about to be named."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.mock.hypervisor import MockHypervisor
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.action import Action
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.outcome import VmOutcome
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.run import Limits, run
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.take import Present
from ansible_collections.limiquantix.kvm.plugins.module_utils._values import errors as _errors
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.plan import Need, SnapshotPlan
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.request import SnapshotRequest
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import Snapshot, SnapshotDisk
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import VirtualMachine, VmId

# What a process of its own needs to import the collection, wherever it is imported from here.
IMPORT_PATH = [str(Path(str(_errors.__file__)).parents[5]), *sys.path]


def vm(name: str = "web01", power: str = "running", **values: Any) -> VirtualMachine:
    return VirtualMachine(id=VmId(name, f"uuid-of-{name}"), power=power, **values)


def snapshot(name: str, parent: str | None = None, **values: Any) -> Snapshot:
    disks = (SnapshotDisk("vda", f"/vm/{name}.qcow2", "qcow2", None),)
    return Snapshot(**{"name": name, "parent": parent, "disks": disks, "state": "disk-snapshot", **values})


def plan(name: str, *needs: tuple[str, int]) -> SnapshotPlan:
    return SnapshotPlan(
        vm=vm(name),
        request=SnapshotRequest("s"),
        snapshot=snapshot("s"),
        needs=tuple(Need(directory, size) for directory, size in needs),
    )


def machine(name: str, **values: Any) -> dict[str, Any]:
    """Return a VM of a mock's state file."""
    return {"name": name, "disks": [{"target": "vda", "source": f"/vm/{name}.qcow2"}], **values}


def state_file(folder: Path, *machines: dict[str, Any], **top: Any) -> str:
    """Write a mock's state file and return its path."""
    path = folder / "state.json"
    path.write_text(json.dumps({"vms": list(machines), **top}))
    return str(path)


def do(path: str, action: Action[Any], check_mode: bool = False, **limits: Any) -> list[VmOutcome]:
    """Do a task on all VMs of a state file."""
    return run(MockHypervisor(path), ["*"], action, Limits(**limits), check_mode)


def take(path: str, name: str = "s", check_mode: bool = False, timeout: int = 600, **wish: Any) -> VmOutcome:
    """Take a snapshot of the one VM of a state file."""
    (outcome,) = do(path, Present(SnapshotRequest(name, **wish)), check_mode, timeout=timeout)
    return outcome


def codes(outcomes: list[VmOutcome]) -> list[str]:
    """Return the error code of each VM, "" where there is none."""
    return [one.error.error_code if one.error else "" for one in outcomes]
