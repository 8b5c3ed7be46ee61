# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hypervisor libvirt and QEMU run on this host: every call of the contract, each told in the file named for it."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.limiquantix.kvm.plugins.module_utils._backend.libvirt._connection import (
    open_connection,
    translated,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._backend.libvirt._host_files import HostFiles
from ansible_collections.limiquantix.kvm.plugins.module_utils._backend.libvirt._library import (
    parse,
    require_libraries,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._backend.libvirt._plan import plan_snapshot
from ansible_collections.limiquantix.kvm.plugins.module_utils._backend.libvirt._snapshot_xml import from_xml
from ansible_collections.limiquantix.kvm.plugins.module_utils._backend.libvirt._storage import StorageReader
from ansible_collections.limiquantix.kvm.plugins.module_utils._backend.libvirt._take import Take
from ansible_collections.limiquantix.kvm.plugins.module_utils._backend.libvirt._thaw_guard import ThawGuard
from ansible_collections.limiquantix.kvm.plugins.module_utils._deadline import Deadline
from ansible_collections.limiquantix.kvm.plugins.module_utils._domain._memory_blockers import memory_blockers
from ansible_collections.limiquantix.kvm.plugins.module_utils._domain._xml import agent_connected, disks
from ansible_collections.limiquantix.kvm.plugins.module_utils._errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor import Hypervisor
from ansible_collections.limiquantix.kvm.plugins.module_utils._record import (
    Records,
    record_directory,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._snapshot import (
    DomainId,
    Room,
    Snapshot,
    SnapshotPlan,
    SnapshotRequest,
    Storage,
    Taken,
    VirtualMachine,
    in_tree_order,
)

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
            xml = parse(native.XMLDesc(0))
            return _Inspected(
                id=DomainId(native.name(), domain.uuid),
                state=_STATES.get(state, "unknown"),
                persistent=bool(native.isPersistent()),
                guest_agent=agent_connected(xml),
                memory_bytes=memory_kib * 1024,
                memory_blockers=memory_blockers(xml),
                snapshots=self._snapshots(native, domain),
                xml=xml,
            )

    def _snapshots(self, native: Any, domain: DomainId) -> tuple[Snapshot, ...]:
        found = native.listAllSnapshots(0)
        if not found:
            return ()
        quiesced = self._records.read(domain).quiesced
        snapshots = [from_xml(snapshot.getXMLDesc(0), quiesced) for snapshot in found]
        current = native.snapshotCurrent(0).getName() if native.hasCurrentSnapshot(0) else None
        return in_tree_order([replace(one, current=one.name == current) for one in snapshots])

    def storage(self, vm: VirtualMachine) -> Storage:
        native = self._lookup(vm.id)
        with translated(vm.name, "reading the disks"):
            return StorageReader(self._connection, self._records, self._host_files).read(vm, _xml(vm), native)

    def plan(self, vm: VirtualMachine, request: SnapshotRequest) -> SnapshotPlan:
        xml = _xml(vm)
        native = self._lookup(vm.id)
        with translated(vm.name, "asking for what goes on with it"):
            if vm.active:
                _refuse_block_job(vm.name, native, xml)
            elif native.hasManagedSaveImage(0):
                raise _managed_save(vm.name)
        return plan_snapshot(vm, xml, request, self._version, self._records.read(vm.id).taking)

    def room(self, directory: str) -> Room:
        try:
            status, filesystem = os.statvfs(directory), os.stat(directory).st_dev
        except OSError as error:
            raise _unusable(directory, str(error.strerror)) from error
        if not os.path.isdir(directory):
            raise _unusable(directory, "it is no directory")
        if status.f_flag & os.ST_RDONLY or not os.access(directory, os.W_OK | os.X_OK):
            raise _unusable(directory, "it cannot be written")
        return Room(str(filesystem), status.f_blocks * status.f_frsize, status.f_bavail * status.f_frsize)

    def lock(self, domain: DomainId, deadline: Deadline) -> AbstractContextManager[None]:
        return self._records.lock(domain, deadline)

    def take(self, plan: SnapshotPlan, deadline: Deadline) -> Taken:
        native = self._lookup(plan.vm.id)
        return Take(native, self._uri, self._records, self._guard, _xml(plan.vm)).run(plan, deadline)

    def _lookup(self, domain: DomainId) -> Any:
        if domain.uuid not in self._known:
            with translated(domain.name, "looking up the VM"):
                self._known[domain.uuid] = self._connection.lookupByUUIDString(domain.uuid)
        return self._known[domain.uuid]


def _xml(vm: VirtualMachine) -> Any:
    if not isinstance(vm, _Inspected):
        raise TypeError("a VM that another backend has inspected")
    return vm.xml


def _refuse_block_job(vm: str, native: Any, xml: Any) -> None:
    for disk in disks(xml):
        if not disk.has_source:
            continue
        job = native.blockJobInfo(disk.target, 0)
        if job:
            raise KvmError(
                "block_job_active",
                f"A block job (merge, copy or backup) runs on disk {disk.target} of {vm}.",
                f"Nothing was changed. Wait for it: virsh blockjob {vm} {disk.target}.",
                disk=disk.target,
                progress=[job.get("cur"), job.get("end")],
            )


def _managed_save(vm: str) -> KvmError:
    return KvmError(
        "managed_save",
        f"{vm} has a managed save: at its next start it would go on with the disks as they were, below the overlays, "
        "and spoil the snapshot.",
        f"Nothing was changed. Start it first, or throw the saved state away: virsh managedsave-remove {vm}.",
    )


def _unusable(directory: str, reason: str) -> KvmError:
    return KvmError(
        "overlay_dir_unusable",
        f"Overlays cannot be made in {directory}: {reason}.",
        "No VM was touched. Name another directory with overlay_dir.",
        directory=directory,
    )
