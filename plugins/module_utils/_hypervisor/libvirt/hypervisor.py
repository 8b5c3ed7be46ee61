# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hypervisor libvirt and QEMU run on this host: every call of the contract, each told in the file named for it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import Any, Optional, TypeVar

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.contract import Hypervisor
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.connection import (
    open_connection,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.directories import (
    record_directory,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.libraries import (
    require_libraries,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.libvirt_errors import (
    translated,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.pool_volumes import (
    read_domain,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.new_overlay import room
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.storage_report import (
    StorageReader,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.files_in_use import undeletable
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.guest.thaw_guard import ThawGuard
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.host_overlays import HostFiles
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.mounts import filesystems
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.real_paths import first_path
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.inspection import (
    inspect,
    is_still,
    of_libvirt,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.operations.operation import (
    Operation,
    Tools,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.operations.remove import (
    Remove,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.operations.remove_plan import (
    RemoveWish,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.operations.revert import (
    Revert,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.operations.revert_plan import (
    RevertWish,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.operations.take import (
    Take,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.running_jobs import saved_on
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.storage_findings import (
    with_neighbours,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.vm_handle import VmHandle
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.meeting import Meeting
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.made_overlays import (
    made_for_any,
    noted_of,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.vm_record import (
    Records,
    SnapshotRecord,
    snapshot_key,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.deadline import Deadline, Pace
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.plan import (
    Done,
    Recovery,
    RemovalPlan,
    RevertPlan,
    Room,
    SnapshotPlan,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.request import SnapshotRequest
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import Snapshot
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.storage import FileSystem, Storage
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import VirtualMachine, VmId

_Change = TypeVar("_Change", bound=Operation[Any, Any, Any])
_OPERATIONS: dict[str, type[Operation[Any, Any, Any]]] = {one.kind: one for one in (Take, Revert, Remove)}


class LibvirtHypervisor(Hypervisor):
    """A `Hypervisor` over the libvirt of this host."""

    def __init__(
        self,
        uri: str,
        guard: ThawGuard | None = None,
        host_files: HostFiles | None = None,
        *,
        may_adjust: bool = False,
    ) -> None:
        require_libraries()
        self._connection = open_connection(uri)
        self._records = Records(record_directory(uri), first_path)
        self._tools = Tools(uri, guard or ThawGuard(uri))
        self._owns_guard = guard is None
        self._host_files = host_files or _host_files(self._records)
        self._may_adjust = may_adjust
        self._known: dict[str, Any] = {}
        with translated("the host", "asking for the version"):
            self._version = self._connection.getLibVersion()

    def another(self) -> Hypervisor:
        return LibvirtHypervisor(self._tools.uri, self._tools.guard, self._host_files, may_adjust=self._may_adjust)

    def close(self) -> None:
        if self._owns_guard:
            self._tools.guard.close()
        self._connection.close()

    def vms(self) -> list[VmId]:
        with translated("the host", "listing the VMs"):
            found = [VmId(one.name(), one.UUIDString()) for one in self._connection.listAllDomains(0)]
        return sorted(found, key=lambda vm_id: vm_id.name)

    def inspect(self, vm_id: VmId) -> VirtualMachine:
        return inspect(self._handle(vm_id))

    def is_still(self, vm: VirtualMachine) -> bool:
        return is_still(self._handle(vm.id), of_libvirt(vm))

    def storage(self, vm: VirtualMachine) -> Storage:
        handle, xml = self._handle(vm.id), of_libvirt(vm).xml
        with translated(vm.name, "reading the disks"):
            found = StorageReader(self._connection, self._records, self._host_files).read(vm, xml, handle.native)
        record = handle.record()
        return with_neighbours(handle, found) if vm.snapshots or record.overlays or record.made else found

    def filesystems(self, files: Collection[str]) -> tuple[FileSystem, ...]:
        return filesystems(files, self._host_files.mounts)

    def plan_take(self, vm: VirtualMachine, request: SnapshotRequest) -> SnapshotPlan:
        return self._of(Take, vm).plan(vm, request)

    def plan_revert(self, vm: VirtualMachine, snapshot: Snapshot, power: str, kept_now: bool = False) -> RevertPlan:
        return self._of(Revert, vm).plan(vm, RevertWish(snapshot, power, kept_now))

    def plan_remove(
        self, vm: VirtualMachine, snapshots: Sequence[Snapshot], orphans: Sequence[str] = ()
    ) -> RemovalPlan:
        return self._of(Remove, vm).plan(vm, RemoveWish(tuple(snapshots), tuple(orphans)))

    def take(self, plan: SnapshotPlan, deadline: Deadline, meeting: Optional[Meeting] = None) -> Done:
        take = self._of(Take, plan.vm, deadline)
        take.meeting = meeting
        return take.run(plan)

    def revert(self, plan: RevertPlan, deadline: Deadline) -> Done:
        return self._of(Revert, plan.vm, deadline).run(plan)

    def remove(self, plan: RemovalPlan, bandwidth: int, deadline: Deadline) -> Done:
        return self._of(Remove, plan.vm, deadline, bandwidth).run(plan)

    def recover(self, vm: VirtualMachine, deadline: Deadline) -> Recovery:
        journal = self._records.read(vm.id).journal
        return self._of(_OPERATIONS[journal.kind], vm, deadline).resume(journal) if journal else Recovery("")

    def cannot_recover(self, vm: VirtualMachine) -> Optional[KvmError]:
        journal = self._records.read(vm.id).journal
        return self._of(_OPERATIONS[journal.kind], vm).cannot_resume(journal) if journal else None

    def _of(
        self, operation: type[_Change], vm: VirtualMachine, deadline: Optional[Deadline] = None, bandwidth: int = 0
    ) -> _Change:
        return operation(self._handle(vm.id), self._tools, Pace(bandwidth, deadline or Deadline(0)))

    def room(self, directory: str) -> Room:
        return room(directory)

    def lock(self, vm_id: VmId, deadline: Deadline) -> AbstractContextManager[None]:
        return self._records.lock(vm_id, deadline)

    def annotate(self, vm: VirtualMachine, snapshot: Snapshot) -> None:
        record = self._records.read(vm.id)
        key = snapshot_key(snapshot.name, snapshot.created_at)
        by_libvirt = self._handle(vm.id).snapshot(snapshot.name).description
        note = replace(
            record.snapshots.get(key, SnapshotRecord()),
            quiesced=snapshot.quiesced,
            owned=snapshot.owned,
            protected=snapshot.protected,
            labels=dict(snapshot.labels),
            expires=snapshot.expires,
            # Not told to libvirt: redefining a snapshot loses where a native revert has put the VM (metadata/saved.py), and
            # a kill between the two would leave one half of what a task has asked for.
            description=None if snapshot.description == by_libvirt else snapshot.description,
            instead_of=by_libvirt,
        )
        self._records.write(vm.id, replace(record, snapshots={**record.snapshots, key: note}))

    def cannot_delete(self, vm: VirtualMachine, files: Sequence[str]) -> Optional[KvmError]:
        handle = self._handle(vm.id)
        return saved_on(handle, files) or undeletable(handle, files)

    def delete_orphans(self, vm: VirtualMachine, files: Sequence[str]) -> tuple[str, ...]:
        native = self._lookup(vm.id)
        with translated(vm.name, "reading the disks"):  # anew: what was an orphan may be in use by now
            reader = StorageReader(self._connection, self._records, _host_files(self._records))
            found = reader.read(vm, read_domain(native), native)
        found = with_neighbours(handle := self._handle(vm.id), found)
        left = () if found.definition_changed else found.leftovers
        if refused := saved_on(handle, files):
            raise refused
        going = {*found.orphans, *(one.file for one in left if one.given_up_by_name)}.intersection(files)
        with handle.telling_removed():
            handle.unlink(going)
        return tuple(handle.removed)

    def _handle(self, vm_id: VmId) -> VmHandle:
        native = self._lookup(vm_id)
        return VmHandle(
            self._connection,
            native,
            vm_id,
            version=self._version,
            records=self._records,
            host_files=self._host_files,
            may_adjust=self._may_adjust,
        )

    def _lookup(self, vm_id: VmId) -> Any:
        if vm_id.uuid not in self._known:
            with translated(vm_id.name, "looking up the VM"):
                self._known[vm_id.uuid] = self._connection.lookupByUUIDString(vm_id.uuid)
        return self._known[vm_id.uuid]


def _host_files(records: Records) -> HostFiles:
    return HostFiles(partial(made_for_any, records), partial(noted_of, records))
