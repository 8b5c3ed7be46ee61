# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hypervisor libvirt and QEMU run on this host: every call of the contract, each told in the file named for it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.contract import Hypervisor
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.checks import (
    check_frozen,
    check_written,
    frozen_written,
    is_below,
    refuse_jobs,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.connection import (
    open_connection,
    translated,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.library import (
    require_libraries,
    require_qemu_img,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.volumes import read_domain
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.frozen import Frozen
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.leftovers import leftovers
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.storage import StorageReader
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.guest.thaw_guard import ThawGuard
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.host_files import HostFiles
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.qemu_user import QemuUser
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.rewrite import current_name
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.saved import read_saved
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.snapshot_xml import (
    from_saved,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.operations.remove import (
    Removal,
    plan_removal,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.operations.revert import (
    Reversion,
    plan_revert,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.operations.take import (
    Take,
    resume_take,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.operations.take_plan import (
    plan_snapshot,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.ready import check_overlay_directory
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.vm import DomainHandle, gone_layers
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.record import (
    Record,
    Records,
    SnapshotNote,
    record_directory,
    snapshot_key,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml import agent_connected, image_disks
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.freeze import decide_freeze
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.memory import memory_blockers
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.refusals import overlay_dir_unusable
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.deadline import Deadline, Pace
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.plan import (
    Recovery,
    RemovalPlan,
    RevertPlan,
    Room,
    SnapshotPlan,
    Taken,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.request import SnapshotRequest
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import Snapshot, in_tree_order
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.storage import Storage
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import DomainId, VirtualMachine

# virDomainState; what has no process is shut off for our purposes, also while it crashed.
_STATES = {1: "running", 2: "running", 3: "paused", 4: "running", 5: "shutoff", 6: "crashed", 7: "pmsuspended"}


@dataclass(frozen=True)
class _Inspected(VirtualMachine):
    """A VM with the XML it was read from: what is planned, and then done, builds upon that very reading."""

    xml: Any = None


class LibvirtHypervisor(Hypervisor):
    """A `Hypervisor` over the libvirt of this host."""

    def __init__(self, uri: str, guard: ThawGuard | None = None, host_files: HostFiles | None = None) -> None:
        require_libraries()
        self._uri = uri
        self._connection = open_connection(uri)
        self._records = Records(record_directory(uri))
        self._guard = guard or ThawGuard(uri)
        self._owns_guard = guard is None
        self._host_files = host_files or HostFiles()
        self._known: dict[str, Any] = {}
        with translated("the host", "asking for the version"):
            self._version = self._connection.getLibVersion()

    def another(self) -> Hypervisor:
        return LibvirtHypervisor(self._uri, self._guard, self._host_files)

    def close(self) -> None:
        if self._owns_guard:
            self._guard.close()
        self._connection.close()

    def domains(self) -> list[DomainId]:
        with translated("the host", "listing the VMs"):
            found = [DomainId(one.name(), one.UUIDString()) for one in self._connection.listAllDomains(0)]
        return sorted(found, key=lambda domain: domain.name)

    def inspect(self, domain: DomainId) -> VirtualMachine:
        native = self._lookup(domain)
        with translated(domain.name, "reading the VM"):
            state, memory_kib, *_rest = native.info()
            xml = read_domain(native)
            record = self._records.read(domain)
            return _Inspected(
                id=DomainId(xml.findtext("name"), domain.uuid),  # native.name() is the one it was looked up by
                state=_STATES.get(state, "unknown"),
                persistent=bool(native.isPersistent()),
                guest_agent=agent_connected(xml),
                memory_bytes=memory_kib * 1024,
                memory_blockers=memory_blockers(xml),
                snapshots=_snapshots(native, xml, record),
                operation=self._records.operation(domain, record),
                xml=xml,
            )

    def storage(self, vm: VirtualMachine) -> Storage:
        native = self._lookup(vm.id)
        with translated(vm.name, "reading the disks"):
            found = StorageReader(self._connection, self._records, self._host_files).read(vm, _xml(vm), native)
        return self._with_neighbours(vm, found) if vm.snapshots or self._records.read(vm.id).overlays else found

    def _with_neighbours(self, vm: VirtualMachine, found: Storage) -> Storage:
        """Add what its neighbours, a detached disk or an older definition have to do with a VM's storage."""
        handle = self._handle(vm.id)
        every = handle.saved()
        errors = list(frozen_written(handle, every))
        if errors:  # half of what a run, or virsh, was just doing is no trouble: looked at once more
            errors = [] if self._records.held(vm.id) else list(frozen_written(handle, handle.saved()))
        with suppress(KvmError):  # a chain that cannot be read is told of already
            found = replace(found, leftovers=tuple(leftovers(vm.name, handle.survey(), every)))
        gone = [
            f"its definition names {file}, which is gone, so {vm.name} would not start: remove a snapshot, and it is mended"
            for file in gone_layers(handle.definition())
        ]
        return replace(
            found,
            problems=(*found.problems, *(error.message for error in errors), *gone),
            definition_changed=tuple(one.details["disk"] for one in errors if one.error_code == "definition_changed"),
        )

    def plan(self, vm: VirtualMachine, request: SnapshotRequest) -> SnapshotPlan:
        xml = _xml(vm)
        native = self._lookup(vm.id)
        with translated(vm.name, "asking for what goes on with it"):
            refuse_jobs(vm, native, xml)
            check_written(vm.name, native, xml)
        if not vm.active or decide_freeze(vm, request)[0]:  # else QEMU makes the overlays
            require_qemu_img(vm.name)
        if vm.snapshots:
            handle = self._handle(vm.id)
            check_frozen(handle, handle.saved())
        plan = plan_snapshot(vm, xml, request, self._version, self._records.read(vm.id).making)
        self._check_directories(vm, xml, plan)
        return plan if vm.snapshots else replace(plan, notes=(*plan.notes, *self._left_by_others(vm)))

    def _check_directories(self, vm: VirtualMachine, xml: Any, plan: SnapshotPlan) -> None:
        with translated(vm.name, "asking as whom QEMU runs"):
            user = QemuUser.of(self._connection, xml)
        for directory in dict.fromkeys(need.directory for need in plan.needs):
            check_overlay_directory(vm.name, directory, user)

    def _left_by_others(self, vm: VirtualMachine) -> tuple[str, ...]:
        with translated(vm.name, "reading the disks"):
            reader = StorageReader(self._connection, self._records, self._host_files)
            return reader.left_by_others(vm, _xml(vm), self._lookup(vm.id))

    def room(self, directory: str) -> Room:
        try:
            status, filesystem = os.statvfs(directory), os.stat(directory).st_dev
        except OSError as error:
            raise overlay_dir_unusable(directory, str(error.strerror)) from error
        if not os.path.isdir(directory):
            raise overlay_dir_unusable(directory, "it is no directory")
        if status.f_flag & os.ST_RDONLY or not os.access(directory, os.W_OK | os.X_OK):
            raise overlay_dir_unusable(directory, "it cannot be written")
        return Room(str(filesystem), status.f_blocks * status.f_frsize, status.f_bavail * status.f_frsize)

    def lock(self, domain: DomainId, deadline: Deadline) -> AbstractContextManager[None]:
        return self._records.lock(domain, deadline)

    def take(self, plan: SnapshotPlan, deadline: Deadline) -> Taken:
        handle = self._handle(plan.vm.id)
        return Take(handle, self._uri, self._records, self._guard, _xml(plan.vm)).run(plan, deadline)

    def plan_revert(self, vm: VirtualMachine, snapshot: Snapshot, power: str) -> RevertPlan:
        handle = self._handle(vm.id)
        with handle.seen_once():
            return plan_revert(handle, vm, snapshot, power)

    def revert(self, plan: RevertPlan, deadline: Deadline) -> tuple[str, ...]:
        Reversion(self._handle(plan.vm.id), Pace(0, deadline)).run(plan)
        return plan.notes

    def plan_removal(
        self, vm: VirtualMachine, snapshots: Sequence[Snapshot], orphans: Sequence[str] = ()
    ) -> RemovalPlan:
        handle = self._handle(vm.id)
        with handle.seen_once():
            return plan_removal(handle, vm, tuple(snapshots), orphans)

    def remove(self, plan: RemovalPlan, bandwidth: int, deadline: Deadline) -> tuple[str, ...]:
        Removal(self._handle(plan.vm.id), Pace(bandwidth, deadline)).run(plan.snapshots[0])
        return plan.notes

    def recover(self, vm: VirtualMachine, deadline: Deadline) -> Recovery:
        handle = self._handle(vm.id)
        journal = handle.record().journal
        if journal is None:
            return Recovery("")
        if journal.kind == "take":
            return resume_take(handle, journal)
        if journal.kind == "revert":
            return Reversion(handle, Pace(0, deadline)).resume(journal)
        Removal(handle, Pace(0, deadline)).resume(journal)
        return Recovery(f"Finished the interrupted removal of snapshot {journal.snapshot!r}.")

    def annotate(self, vm: VirtualMachine, snapshot: Snapshot) -> None:
        record = self._records.read(vm.id)
        key = snapshot_key(snapshot.name, snapshot.created_at)
        note = replace(
            record.snapshots.get(key, SnapshotNote()),
            quiesced=snapshot.quiesced,
            owned=snapshot.owned,
            protected=snapshot.protected,
            labels=dict(snapshot.labels),
        )
        self._records.write(vm.id, replace(record, snapshots={**record.snapshots, key: note}))

    def delete_orphans(self, vm: VirtualMachine, files: Sequence[str]) -> tuple[str, ...]:
        native = self._lookup(vm.id)
        with translated(vm.name, "reading the disks"):  # anew: what was an orphan may be in use by now
            reader = StorageReader(self._connection, self._records, HostFiles())
            found = reader.read(vm, read_domain(native), native).orphans
        handle = self._handle(vm.id)
        kept = {one.file for one in leftovers(vm.name, handle.survey(), handle.saved()) if one.given_up_by_name}
        going = tuple(file for file in files if file in kept.union(found))
        handle.unlink(going)
        return going

    def _handle(self, domain: DomainId) -> DomainHandle:
        native = self._lookup(domain)
        return DomainHandle(
            self._connection,
            native,
            domain,
            version=self._version,
            records=self._records,
            host_files=self._host_files,
        )

    def _lookup(self, domain: DomainId) -> Any:
        if domain.uuid not in self._known:
            with translated(domain.name, "looking up the VM"):
                self._known[domain.uuid] = self._connection.lookupByUUIDString(domain.uuid)
        return self._known[domain.uuid]


def _xml(vm: VirtualMachine) -> Any:
    if not isinstance(vm, _Inspected):
        raise TypeError("a VM that another backend has inspected")
    return vm.xml


def _snapshots(native: Any, xml: Any, record: Record) -> tuple[Snapshot, ...]:
    found = read_saved(native)
    if not found:
        return ()
    current = current_name(native)
    if not any(one.name == current and is_below(one, xml) for one in found):
        current = None  # libvirt calls one current for want of a true one, see metadata/rewrite.py
    active = {os.path.realpath(str(disk.source)) for disk in image_disks(xml)}
    frozen = Frozen(record, {snapshot_key(one.name, one.created_at) for one in found}, active)
    snapshots = [from_saved(one, record.snapshots, frozen.past(one)) for one in found]
    return in_tree_order([replace(one, current=one.name == current) for one in snapshots])
