# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A hypervisor in a JSON file: for rehearsals, and for machines without KVM.

It keeps VMs, images and snapshots, and refuses what libvirt refuses, by the same rules and with the same
``error_code``. Copy ``tests/fixtures/mock/fleet.json`` of the collection and change it. Only ``vms`` must be there::

    {
      "vms": [
        {
          "name": "web01",            # required, the only one of that name
          "uuid": "…",                # made from the name by default
          "state": "running",         # paused, shutoff, crashed, pmsuspended
          "persistent": true,         # false: a transient domain
          "memory_mib": 1024,
          "agent": "running",         # none (default); silent: connected, but it answers nothing; thaws_early: as
                                      # Windows does after ten seconds; stuck: it freezes and never answers again
          "cpu": {"mode": "host-passthrough", "invtsc": true, "migratable": false, "tsc_frequency": 2400000000},
          "firmware": "efi",          # bios by default
          "tpm": true,
          "host_devices": ["pci"],    # the types of assigned host devices
          "filesystems": [{"type": "virtiofs", "target": "share"}],   # or 9p
          "disks": [                  # required
            {
              "target": "vda",        # required
              "source": "/vm/web01.qcow2",    # a path, or null: an empty drive
              "format": "qcow2",
              "device": "disk",       # cdrom, floppy, lun
              "type": "file",         # block, network, …
              "readonly": false, "shareable": false, "transient": false,
              "block_job": false      # true: a merge, copy or backup runs
            }
          ],
          "snapshots": [],            # as they are written here, with the keys of the module's `snapshot`
          "current": null,            # the snapshot the present is based on; another one here is what a revert does
          "slow_seconds": 0           # how long taking a snapshot of this VM takes
        }
      ],
      "files": {                      # images; those of the disks need no entry, null means that one is gone
        "/vm/web01.qcow2": {"format": "qcow2", "size": 5368709120, "virtual_size": 21474836480, "backing_file": null}
      },
      "directories": {                # where a disk's image lies is there and has plenty of room, unless this differs
        "/vm": {"total": 107374182400, "free": 53687091200, "filesystem": "the same text: the same file system"},
        "/backup": {"read_only": true},
        "/gone": {"missing": true}
      }
    }

(JSON has no comments: leave them out.) Many threads and processes may use one file at once. Locks lie beside it in
``FILE.locks``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from ansible_collections.limiquantix.kvm.plugins.module_utils._backend.mock._domain import domain_element
from ansible_collections.limiquantix.kvm.plugins.module_utils._backend.mock._plan import plan_snapshot
from ansible_collections.limiquantix.kvm.plugins.module_utils._backend.mock._state import StateFile
from ansible_collections.limiquantix.kvm.plugins.module_utils._backend.mock._storage import Files, storage
from ansible_collections.limiquantix.kvm.plugins.module_utils._backend.mock._take import (
    freeze_guest,
    report,
    switch_disks,
    wait_while_taking,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._deadline import Deadline
from ansible_collections.limiquantix.kvm.plugins.module_utils._decide import memory_blocked
from ansible_collections.limiquantix.kvm.plugins.module_utils._domain._memory_blockers import memory_blockers
from ansible_collections.limiquantix.kvm.plugins.module_utils._domain._xml import agent_connected
from ansible_collections.limiquantix.kvm.plugins.module_utils._errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor import Hypervisor
from ansible_collections.limiquantix.kvm.plugins.module_utils._record import Records
from ansible_collections.limiquantix.kvm.plugins.module_utils._snapshot import (
    DomainId,
    LeftOut,
    Room,
    Snapshot,
    SnapshotDisk,
    SnapshotPlan,
    SnapshotRequest,
    Storage,
    Taken,
    VirtualMachine,
    in_tree_order,
)

_PLENTY = 1 << 40
_DEFAULT_MEMORY_MIB = 1024


class MockHypervisor(Hypervisor):
    """A `Hypervisor` over a state file. Raises ``connection_failed`` or ``bad_request`` where there is no usable one."""

    def __init__(self, path: str | None) -> None:
        if not path:
            raise KvmError("bad_request", "backend: mock needs mock_path, its state file.", "Nothing was changed.")
        self._path = path
        self._file = StateFile(path)
        self._records = Records(self._file.lock_directory)
        self._file.read()

    def another(self) -> Hypervisor:
        return MockHypervisor(self._path)

    def close(self) -> None:
        """Nothing is kept open."""

    def domains(self) -> list[DomainId]:
        found = [DomainId(vm["name"], vm["uuid"]) for vm in self._file.read()["vms"]]
        return sorted(found, key=lambda domain: domain.name)

    def inspect(self, domain: DomainId) -> VirtualMachine:
        state = self._file.read()
        return _virtual_machine(_find(state, domain), state["files"])

    def storage(self, vm: VirtualMachine) -> Storage:
        state = self._file.read()
        return storage(_find(state, vm.id), state["files"], vm.snapshots)

    def plan(self, vm: VirtualMachine, request: SnapshotRequest) -> SnapshotPlan:
        state = self._file.read()
        return plan_snapshot(vm, _find(state, vm.id), state["files"], request)

    def room(self, directory: str) -> Room:
        state = self._file.read()
        known = state["directories"].get(directory)
        used = any(os.path.dirname(file) == directory for file, entry in state["files"].items() if entry is not None)
        if (known is None and not used) or (known or {}).get("missing"):
            raise _unusable(directory, "No such file or directory")
        known = known or {}
        if known.get("read_only"):
            raise _unusable(directory, "it cannot be written")
        total = known.get("total", _PLENTY)
        return Room(known.get("filesystem", directory), total, known.get("free", total))

    def lock(self, domain: DomainId, deadline: Deadline) -> AbstractContextManager[None]:
        return self._records.lock(domain, deadline)

    def take(self, plan: SnapshotPlan, deadline: Deadline) -> Taken:
        native = _find(self._file.read(), plan.vm.id)
        blockers = memory_blockers(domain_element(native))
        if plan.request.include_memory and blockers:
            raise memory_blocked(plan.vm.name, blockers, "Libvirt refused it; nothing changed.")
        slow_seconds = native.get("slow_seconds", 0)
        freeze = freeze_guest(plan, native["agent"], slow_seconds, deadline)
        wait_while_taking(plan, slow_seconds, deadline)
        with self._file.change() as state:
            switch_disks(plan, state, _find(state, plan.vm.id), freeze.held)
        notes = report(plan, freeze)
        snapshot = self.inspect(plan.vm.id).find(plan.request.name)
        if snapshot is None:
            message = f"After the snapshot {plan.vm.name} has none of that name."
            raise KvmError("verification_failed", message, "Somebody changed the state file meanwhile.")
        return Taken(snapshot, notes)


def _find(state: Mapping[str, Any], domain: DomainId) -> dict[str, Any]:
    found: list[dict[str, Any]] = [vm for vm in state["vms"] if vm["uuid"] == domain.uuid]
    if found:
        return found[0]
    raise KvmError("vm_not_found", f"{domain.name} is not on this host any more.")


def _virtual_machine(native: Mapping[str, Any], files: Files) -> VirtualMachine:
    element = domain_element(native)
    snapshots = [_snapshot(entry, files) for entry in native["snapshots"]]
    return VirtualMachine(
        id=DomainId(native["name"], native["uuid"]),
        state=native["state"],
        persistent=native.get("persistent", True),
        guest_agent=agent_connected(element),
        memory_bytes=native.get("memory_mib", _DEFAULT_MEMORY_MIB) << 20,
        memory_blockers=memory_blockers(element),
        snapshots=in_tree_order([replace(one, current=one.name == native["current"]) for one in snapshots]),
    )


def _snapshot(entry: Mapping[str, Any], files: Files) -> Snapshot:
    disks = tuple(_snapshot_disk(disk, files) for disk in entry.get("disks", ()))
    memory_file = entry.get("memory_file")
    named = [disk.file for disk in disks if disk.file] + ([memory_file] if memory_file else [])
    return Snapshot(
        **{
            **entry,
            "disks": disks,
            "left_out": tuple(LeftOut(**part) for part in entry.get("left_out", ())),
            "missing_files": tuple(file for file in named if files.get(file) is None),
        }
    )


def _snapshot_disk(disk: Mapping[str, Any], files: Files) -> SnapshotDisk:
    entry = files.get(disk.get("file", "")) or {}
    return SnapshotDisk(disk["target"], disk.get("file"), disk.get("format"), entry.get("size"))


def _unusable(directory: str, reason: str) -> KvmError:
    return KvmError(
        "overlay_dir_unusable",
        f"Overlays cannot be made in {directory}: {reason}.",
        "No VM was touched. Name another directory with overlay_dir.",
        directory=directory,
    )
