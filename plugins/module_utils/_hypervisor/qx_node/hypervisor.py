# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A hypervisor behind the HTTP API of its agent qx-node. It keeps no notes: what the agent does not tell is not known."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.contract import Hypervisor
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.meeting import Meeting
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.qx_node.connection_options import Address
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.qx_node.error_texts import (
    of_revert,
    translated,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.qx_node.http_client import (
    InDoubtError,
    QxNodeClient,
    QxNodeError,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.qx_node.json_answers import (
    as_snapshots,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.qx_node.lost_answers import (
    unknown,
    unverified,
    was_done,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.qx_node.snapshot_requests import (
    Snapshots,
    path_of,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.qx_node.take import (
    LOOK_ON_HOST,
    plan_take,
    take,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.qx_node.unsupported import not_supported
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.qx_node.vm_list import Listing
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.vm_record import Records
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.refusals import (
    not_as_told,
    vm_gone,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.deadline import Deadline
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
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.storage import Storage
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import VirtualMachine, VmId

_NOTES = (
    "another description of a snapshot that is there, or protected, labels and expires (qx-node keeps none of these)"
)
_REVERTS_AGAIN = "qx-node does not tell whether anything was written since, so every run reverts again"


class QxNodeHypervisor(Hypervisor):
    """A `Hypervisor` behind an agent. Raises beside its own what `QxNodeClient` raises from any method."""

    adds_up = False

    def __init__(self, address: Address) -> None:
        self._client = QxNodeClient(address)
        self._listing = Listing(self._client)
        self._snapshots = Snapshots(self._client)
        self._records = Records(_lock_directory(address.base))

    def another(self) -> Hypervisor:
        return self  # no connection is kept, and nothing that threads could take from each other

    def close(self) -> None:
        """Nothing is kept open."""

    def vms(self) -> list[VmId]:
        return [vm.id for vm in self._listing.vms()]

    def inspect(self, vm_id: VmId) -> VirtualMachine:
        found = self._listing.find(vm_id.uuid)
        if found is None:
            raise vm_gone(vm_id.name, f"qx-node at {self._client.address.where} does not list it")
        return replace(found, snapshots=as_snapshots(self._snapshots.listed(vm_id)))

    def storage(self, vm: VirtualMachine) -> Storage:
        """Nothing is told of it; ``vm.untold`` says so."""
        return Storage(())

    def filesystems(self, files: Collection[str]) -> None:
        """Nothing is told of them."""

    def plan_take(self, vm: VirtualMachine, request: SnapshotRequest) -> SnapshotPlan:
        return plan_take(vm, request)

    def room(self, directory: str) -> Room:
        raise not_supported(f"room in {directory} (qx-node does not tell which files there are)")

    @contextmanager
    def lock(self, vm_id: VmId, deadline: Deadline) -> Iterator[None]:
        """Exclude other runs of this user on this machine only: the agent has no locks."""
        # A UUID is what the agent says it is, and no part of a path before it was hashed.
        hashed = hashlib.sha256(vm_id.uuid.encode()).hexdigest()[:32]
        with self._locked(VmId(vm_id.name, hashed), deadline):
            yield

    def _locked(self, vm_id: VmId, deadline: Deadline) -> AbstractContextManager[None]:
        return self._records.lock(vm_id, deadline)

    def take(self, plan: SnapshotPlan, deadline: Deadline, meeting: Optional[Meeting] = None) -> Done:
        return take(self._snapshots, plan, deadline)

    def plan_revert(self, vm: VirtualMachine, snapshot: Snapshot, power: str, kept_now: bool = False) -> RevertPlan:
        return RevertPlan(vm, snapshot, (), (), "", notes=(_REVERTS_AGAIN,))

    def revert(self, plan: RevertPlan, deadline: Deadline) -> Done:
        vm, name = plan.vm, plan.snapshot.name
        what = f"the revert of {vm.name} to snapshot {name!r}"
        path = f"{path_of(vm.id, self._snapshots.id_of(vm.id, name))}/revert"
        try:
            self._snapshots.change("POST", path, None, deadline, what)
        except QxNodeError as failure:
            raise (of_revert(failure, vm.name, name) or translated(failure, vm.name)) from failure
        except InDoubtError as doubt:
            why = "No list of snapshots shows it, and another revert would delete what was written since."
            raise unknown(
                doubt, what, why, f"Look inside the guest, at its disks on the host (virsh domblklist {vm.name})"
            ) from doubt
        finally:
            self._listing.forget()
        try:
            self._listing.vms()  # what is told next is the VM's state after it
        except KvmError as error:
            raise unverified(what, error) from error
        return Done(plan.notes)

    def plan_remove(
        self, vm: VirtualMachine, snapshots: Sequence[Snapshot], orphans: Sequence[str] = ()
    ) -> RemovalPlan:
        return RemovalPlan(vm, tuple(snapshots), ())

    def remove(self, plan: RemovalPlan, bandwidth: int, deadline: Deadline) -> Done:
        (snapshot,) = plan.snapshots
        vm, name = plan.vm, snapshot.name
        what = f"the removal of snapshot {name!r} of {vm.name}"
        path = path_of(vm.id, self._snapshots.id_of(vm.id, name))
        try:
            self._snapshots.change("DELETE", path, None, deadline, what)
        except QxNodeError as failure:
            raise translated(failure, vm.name) from failure
        except InDoubtError as doubt:
            return Done((was_done(lambda: not self._snapshots.is_listed(vm.id, name), doubt, what),))
        if any(one.name == name for one in self._snapshots.listed_after(vm.id, what)):
            raise not_as_told(vm.name, name, "removed", LOOK_ON_HOST)
        return Done()

    def recover(self, vm: VirtualMachine, deadline: Deadline) -> Recovery:
        """There is no journal, and so never anything to finish or undo."""
        return Recovery("")

    def cannot_annotate(self) -> KvmError:
        return not_supported(_NOTES, "description", "protected", "labels", "expires")

    def annotate(self, vm: VirtualMachine, snapshot: Snapshot) -> None:
        raise self.cannot_annotate()

    def delete_orphans(self, vm: VirtualMachine, files: Sequence[str]) -> tuple[str, ...]:
        raise not_supported("orphans (qx-node does not tell which files there are)", "orphans")


def _lock_directory(base: str) -> str:
    """Return a directory that the user can write, another for each agent."""
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return os.path.join(state, "limiquantix-kvm", "qx_node", hashlib.sha256(base.encode()).hexdigest()[:16])
