# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A hypervisor in a JSON file: for rehearsals, and for machines without KVM.

It keeps VMs, images and snapshots, and refuses what libvirt refuses, by the same rules and with the same
``error_code``. `json_file.py` describes the file.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any, Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.contract import Hypervisor
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.meeting import Meeting
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.mock.images import delete_file
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.mock.json_file import StateFile, find_vm
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.mock.remove import forget, plan_remove
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.mock.revert import go_back, plan_revert
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.mock.storage_report import (
    PLENTY,
    filesystems,
    storage,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.mock.take import (
    freeze_guest,
    held,
    report,
    switch_disks,
    wait_while_taking,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.mock.take_plan import plan_snapshot
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.mock.vm import virtual_machine
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.mock.vm_xml import vm_element
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.journal import from_json, now
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.vm_record import Record, Records
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.layer_steps import gone
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.merge_refusals import merge_goes_on, merge_timeout
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.refusals import not_as_told, overlay_dir_unusable
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.taking.memory import (
    memory_blocked,
    memory_blockers,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.deadline import Deadline
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.merge import MergeProgress
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.plan import (
    Done,
    Recovery,
    RemovalPlan,
    RevertPlan,
    Room,
    SnapshotPlan,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.request import SnapshotRequest
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import (
    Snapshot,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.storage import FileSystem, Storage
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import Operation, VirtualMachine, VmId


class MockHypervisor(Hypervisor):
    """A `Hypervisor` over a state file. Raises ``connection_failed`` or ``bad_request`` where there is no usable one."""

    def __init__(self, path: str | None) -> None:
        if not path:
            raise KvmError("bad_request", "mock_path is missing: backend: mock needs it.", "Nothing was changed.")
        self._path = path
        self._file = StateFile(path)
        self._records = Records(self._file.lock_directory)
        self._file.read()

    def another(self) -> Hypervisor:
        return MockHypervisor(self._path)

    def close(self) -> None:
        """Nothing is kept open."""

    def vms(self) -> list[VmId]:
        found = [VmId(vm["name"], vm["uuid"]) for vm in self._file.read()["vms"]]
        return sorted(found, key=lambda vm_id: vm_id.name)

    def inspect(self, vm_id: VmId) -> VirtualMachine:
        state = self._file.read()
        native = find_vm(state, vm_id)
        return replace(virtual_machine(native, state["files"]), operation=self._operation(vm_id, native))

    def _operation(self, vm_id: VmId, native: Mapping[str, Any]) -> Optional[Operation]:
        noted = native["operation"]
        return self._records.operation(vm_id, Record(journal=from_json(noted))) if noted else None

    def storage(self, vm: VirtualMachine) -> Storage:
        state = self._file.read()
        return storage(state, find_vm(state, vm.id), vm.snapshots)

    def filesystems(self, files: Collection[str]) -> tuple[FileSystem, ...]:
        return filesystems(self._file.read()["directories"], files)

    def plan_take(self, vm: VirtualMachine, request: SnapshotRequest) -> SnapshotPlan:
        state = self._file.read()
        return plan_snapshot(vm, find_vm(state, vm.id), state["files"], request)

    def room(self, directory: str) -> Room:
        state = self._file.read()
        known = state["directories"].get(directory)
        used = any(os.path.dirname(file) == directory for file, entry in state["files"].items() if entry is not None)
        if (known is None and not used) or (known or {}).get("missing"):
            raise overlay_dir_unusable(directory, "No such file or directory")
        known = known or {}
        if known.get("read_only"):
            raise overlay_dir_unusable(directory, "it cannot be written")
        total = known.get("total", PLENTY)
        return Room(known.get("filesystem", directory), total, known.get("free", total))

    def lock(self, vm_id: VmId, deadline: Deadline) -> AbstractContextManager[None]:
        return self._records.lock(vm_id, deadline)

    def take(self, plan: SnapshotPlan, deadline: Deadline, meeting: Optional[Meeting] = None) -> Done:
        native = find_vm(self._file.read(), plan.vm.id)
        blockers = memory_blockers(vm_element(native))
        if plan.request.include_memory and blockers:
            raise memory_blocked(plan.vm.name, blockers, "libvirt refused it. Nothing was changed.")
        slow_seconds = native.get("slow_seconds", 0)
        freeze = freeze_guest(plan, native["agent"], slow_seconds, deadline)
        with held(plan.vm, meeting):
            wait_while_taking(plan, slow_seconds, deadline)
            with self._file.change() as state:
                switch_disks(plan, state, find_vm(state, plan.vm.id), freeze.held)
        notes = report(plan, freeze)
        snapshot = self.inspect(plan.vm.id).find(plan.request.name)
        if snapshot is None:
            remedy = "Somebody changed the mock's state file meanwhile."
            raise not_as_told(plan.vm.name, plan.request.name, "taken", remedy)
        return Done(notes, snapshot=snapshot)

    def plan_revert(self, vm: VirtualMachine, snapshot: Snapshot, power: str, kept_now: bool = False) -> RevertPlan:  # noqa: ARG002
        plan = plan_revert(self._file.read(), vm, snapshot, power)
        for overlay in plan.overlays:
            self.room(os.path.dirname(str(overlay.file)))
        return plan

    def revert(self, plan: RevertPlan, deadline: Deadline) -> Done:
        seconds = self._begin(plan.vm.id, "revert", plan.snapshot.name)
        self._wait(plan.vm.id, min(seconds, deadline.remaining()))
        with self._end(plan.vm.id) as state:
            return Done(plan.notes, gone(go_back(state, plan)))

    def plan_remove(
        self, vm: VirtualMachine, snapshots: Sequence[Snapshot], orphans: Sequence[str] = ()
    ) -> RemovalPlan:
        return plan_remove(self._file.read(), vm, snapshots, orphans)

    def remove(self, plan: RemovalPlan, bandwidth: int, deadline: Deadline) -> Done:
        (snapshot,) = plan.snapshots
        seconds = self._begin(plan.vm.id, "remove", snapshot.name)
        self._merge(plan, max(seconds, self._merge_seconds(plan, bandwidth)), deadline)
        with self._end(plan.vm.id) as state:
            return Done(plan.notes, forget(state, plan.vm, snapshot.name).files)

    def recover(self, vm: VirtualMachine, deadline: Deadline) -> Recovery:
        """Finish a removal, since merging goes one way; undo the others, whose one step is the last."""
        operation = vm.operation
        if operation is None:
            return Recovery("")
        found = vm.find(operation.snapshot)
        removed: tuple[str, ...] = ()
        if operation.kind == "remove" and found:
            removed = self.remove(self.plan_remove(vm, [found]), 0, deadline).files_removed
        finished = operation.kind == "remove" or bool(operation.kind == "take" and found)
        noun = {"remove": "removal of", "take": "taking of", "revert": "revert to"}[operation.kind]
        with self._end(vm.id):
            word = "Finished" if finished else "Undid"
            return Recovery(f"{word} the interrupted {noun} snapshot {operation.snapshot!r}.", finished, removed)

    def annotate(self, vm: VirtualMachine, snapshot: Snapshot) -> None:
        with self._file.change() as state:
            entry = next(one for one in find_vm(state, vm.id)["snapshots"] if one["name"] == snapshot.name)
            entry.update(
                owned=snapshot.owned,
                protected=snapshot.protected,
                labels=dict(snapshot.labels),
                expires=snapshot.expires,
                description=snapshot.description,
            )

    def delete_orphans(self, vm: VirtualMachine, files: Sequence[str]) -> tuple[str, ...]:
        with self._file.change() as state:
            orphans = storage(state, find_vm(state, vm.id), vm.snapshots).orphans
            deleted = tuple(file for file in files if file in orphans)
            for file in deleted:
                delete_file(state, file)
            return deleted

    def _begin(self, vm_id: VmId, kind: str, snapshot: str) -> float:
        """Note what is begun, and return how long it takes on this VM."""
        with self._file.change() as state:
            native = find_vm(state, vm_id)
            native["operation"] = {"kind": kind, "snapshot": snapshot, "started_at": now()}
            return float(native.get("slow_seconds", 0))

    @contextmanager
    def _end(self, vm_id: VmId) -> Iterator[dict[str, Any]]:
        """Give the state for the one step of an operation, which ends with it."""
        with self._file.change() as state:
            find_vm(state, vm_id)["operation"] = None
            yield state

    def _merge_seconds(self, plan: RemovalPlan, bandwidth: int) -> float:
        if not bandwidth:
            return 0
        return self._merged_bytes(plan) / (bandwidth << 20)

    def _merged_bytes(self, plan: RemovalPlan) -> int:
        return sum(forget(self._file.read(), plan.vm, plan.snapshots[0].name).merged.values())

    def _merge(self, plan: RemovalPlan, seconds: float, deadline: Deadline) -> None:
        """Take as long as merging takes. Raises ``timeout``."""
        self._wait(plan.vm.id, min(seconds, deadline.remaining()), seconds)
        if deadline.remaining() == 0 and seconds:
            if not plan.vm.active:
                raise merge_timeout(plan.vm.name, deadline)
            whole = self._merged_bytes(plan)
            done = int(whole * deadline.seconds / seconds)
            raise merge_goes_on(plan.vm.name, deadline, MergeProgress(done, whole, done, deadline.seconds))

    def _wait(self, vm_id: VmId, seconds: float, whole: float = 0) -> None:
        """Wait, telling others how far that has got where it is the merging of a ``whole``."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if whole:
                self._records.note_percent(vm_id, int(100 * (seconds - left) / whole))
            time.sleep(min(left, 0.1))
        if whole:
            self._records.note_percent(vm_id, None)
