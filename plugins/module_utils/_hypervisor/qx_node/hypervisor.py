# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A hypervisor behind the HTTP API of its agent qx-node. It keeps no notes: what the agent does not tell is not known."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Optional
from urllib.parse import quote

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.contract import Hypervisor
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.qx_node.address import Address
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.qx_node.answers import (
    Listed,
    as_snapshots,
    knowing,
    read_snapshots,
    untold,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.qx_node.client import (
    AgentClient,
    AgentError,
    InDoubtError,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.qx_node.doubt import (
    LOOK_SECONDS,
    unknown,
    was_done,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.qx_node.failures import translated
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.qx_node.listing import Listing
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.qx_node.refuse import not_supported
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.record import Records
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.freeze import decide_freeze
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.refusals import (
    not_as_told,
    removed_meanwhile,
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
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import DomainId, VirtualMachine

_LOOK_ON_HOST = "qx-node says that it is done. Look on the host: virsh snapshot-list, and qx-node's log."
_MEMORY_NOT_KNOWN = (
    "qx-node does not tell beforehand whether the memory can be saved: that shows only when the snapshot is taken"
)
_FREEZE_NOT_KNOWN = "qx-node was asked to freeze the guest's file systems, but does not tell whether it did"
_REVERTS_AGAIN = "qx-node does not tell whether anything was written since, so every run reverts again"


@dataclass(frozen=True)
class _Wish:
    """What one POST asks for beside the name."""

    include_memory: bool
    quiesce: bool
    notes: tuple[str, ...] = ()


class QxNodeHypervisor(Hypervisor):
    """A `Hypervisor` behind an agent. Raises beside its own what `AgentClient` raises from any method."""

    adds_up = False

    def __init__(self, address: Address) -> None:
        self._client = AgentClient(address)
        self._listing = Listing(self._client)
        self._records = Records(_lock_directory(address.base))

    def another(self) -> Hypervisor:
        return self  # no connection is kept, and nothing that threads could take from each other

    def close(self) -> None:
        """Nothing is kept open."""

    def domains(self) -> list[DomainId]:
        return [vm.id for vm in self._listing.vms()]

    def inspect(self, domain: DomainId) -> VirtualMachine:
        found = self._listing.find(domain.uuid)
        if found is None:
            raise vm_gone(domain.name, f"qx-node at {self._client.address.where} does not list it")
        return replace(found, snapshots=as_snapshots(self._listed(domain)))

    def storage(self, vm: VirtualMachine) -> Storage:
        """Nothing is told of it; ``vm.untold`` says so."""
        return Storage(())

    def plan_take(self, vm: VirtualMachine, request: SnapshotRequest) -> SnapshotPlan:
        snapshot = knowing(Snapshot(request.name, untold=untold("")), request.include_memory, None)
        notes = (_MEMORY_NOT_KNOWN,) if request.include_memory else ()
        return SnapshotPlan(vm=vm, request=request, snapshot=snapshot, notes=notes)

    def room(self, directory: str) -> Room:
        raise not_supported(f"room in {directory} (qx-node does not tell which files there are)")

    @contextmanager
    def lock(self, domain: DomainId, deadline: Deadline) -> Iterator[None]:
        """Exclude other runs of this user on this machine only: the agent has no locks."""
        # A UUID is what the agent says it is, and no part of a path before it was hashed.
        hashed = hashlib.sha256(domain.uuid.encode()).hexdigest()[:32]
        with self._locked(DomainId(domain.name, hashed), deadline):
            yield

    def _locked(self, domain: DomainId, deadline: Deadline) -> AbstractContextManager[None]:
        return self._records.lock(domain, deadline)

    def take(self, plan: SnapshotPlan, deadline: Deadline) -> Done:
        """Take it; what the agent refuses for its memory or a freeze is taken without, where the task allows that."""
        notes = tuple(note for note in plan.notes if note != _MEMORY_NOT_KNOWN)
        wish: Optional[_Wish] = _Wish(plan.request.include_memory, plan.freeze, notes)
        while wish:
            tried = wish
            try:
                doubts = self._post(plan, tried, deadline)
                break
            except KvmError as error:
                wish = _lesser(plan, tried, error)
                if wish is None:
                    raise
        quiesced = None if tried.quiesce else False
        asked = (_FREEZE_NOT_KNOWN,) if tried.quiesce else ()
        taken = knowing(self._verified(plan), tried.include_memory, quiesced)
        return Done((*tried.notes, *asked, *doubts), snapshot=taken)

    def _post(self, plan: SnapshotPlan, wish: _Wish, deadline: Deadline) -> tuple[str, ...]:
        vm, name = plan.vm, plan.request.name
        what = f"taking snapshot {name!r} of {vm.name}"
        body = {"name": name, "quiesce": wish.quiesce, "includeMemory": wish.include_memory}
        if plan.request.description:
            body["description"] = plan.request.description
        try:
            self._client.change("POST", _path(vm.id), body, self._patience(deadline), what)
        except AgentError as failure:
            raise translated(failure, vm.name, wish.include_memory) from failure
        except InDoubtError as doubt:
            note = was_done(lambda: self._is_listed(vm.id, name), doubt, what)
            if wish.include_memory:  # it is listed from the first moment on, and its memory may still be written
                why = "It is listed, but qx-node does not tell whether all of its memory was saved."
                redo = f"If it was not, remove {name!r} first: while it is listed, the next run changes nothing. Look"
                raise unknown(doubt, what, why, f"{redo} with virsh snapshot-dumpxml on the host") from doubt
            return (note,)
        return ()

    def _verified(self, plan: SnapshotPlan) -> Snapshot:
        vm, name = plan.vm, plan.request.name
        what = f"taking snapshot {name!r} of {vm.name}"
        found = next((one for one in as_snapshots(self._looked(vm.id, what)) if one.name == name), None)
        if found is None:
            raise not_as_told(vm.name, name, "taken", _LOOK_ON_HOST)
        return found

    def plan_revert(self, vm: VirtualMachine, snapshot: Snapshot, power: str) -> RevertPlan:
        return RevertPlan(vm, snapshot, (), (), "", notes=(_REVERTS_AGAIN,))

    def revert(self, plan: RevertPlan, deadline: Deadline) -> Done:
        vm, name = plan.vm, plan.snapshot.name
        what = f"the revert of {vm.name} to snapshot {name!r}"
        path = f"{_path(vm.id, self._id(vm.id, name))}/revert"
        try:
            self._client.change("POST", path, None, self._patience(deadline), what)
        except AgentError as failure:
            raise translated(failure, vm.name) from failure
        except InDoubtError as doubt:
            why = "No list of snapshots shows it, and another revert would delete what was written since."
            raise unknown(doubt, what, why, "Look inside the guest, with virsh domblklist on the host") from doubt
        finally:
            self._listing.forget()
        try:
            self._listing.vms()  # what is told next is the VM's state after it
        except KvmError as error:
            raise _unverified(what, error) from error
        return Done(plan.notes)

    def plan_remove(
        self, vm: VirtualMachine, snapshots: Sequence[Snapshot], orphans: Sequence[str] = ()
    ) -> RemovalPlan:
        return RemovalPlan(vm, tuple(snapshots), ())

    def remove(self, plan: RemovalPlan, bandwidth: int, deadline: Deadline) -> Done:
        (snapshot,) = plan.snapshots
        vm, name = plan.vm, snapshot.name
        what = f"the removal of snapshot {name!r} of {vm.name}"
        path = _path(vm.id, self._id(vm.id, name))
        try:
            self._client.change("DELETE", path, None, self._patience(deadline), what)
        except AgentError as failure:
            raise translated(failure, vm.name) from failure
        except InDoubtError as doubt:
            return Done((was_done(lambda: not self._is_listed(vm.id, name), doubt, what),))
        if any(one.name == name for one in self._looked(vm.id, what)):
            raise not_as_told(vm.name, name, "removed", _LOOK_ON_HOST)
        return Done()

    def recover(self, vm: VirtualMachine, deadline: Deadline) -> Recovery:
        """There is no journal, and so never anything to finish or undo."""
        return Recovery("")

    def annotate(self, vm: VirtualMachine, snapshot: Snapshot) -> None:
        raise not_supported("protected and labels (qx-node keeps none)", "protected", "labels")

    def delete_orphans(self, vm: VirtualMachine, files: Sequence[str]) -> tuple[str, ...]:
        raise not_supported("orphans (qx-node does not tell which files there are)", "orphans")

    def _patience(self, deadline: Deadline) -> float:
        """Return how long a change may take: what is left of the VM's time, less what looking afterwards needs."""
        left = deadline.remaining()
        return left - min(2.0 * self._client.address.timeout, left / 2)

    def _listed(self, domain: DomainId, seconds: Optional[float] = None) -> tuple[Listed, ...]:
        try:
            return read_snapshots(self._client.get(_path(domain), f"listing the snapshots of {domain.name}", seconds))
        except AgentError as failure:
            raise translated(failure, domain.name) from failure

    def _is_listed(self, domain: DomainId, name: str) -> bool:
        return any(one.name == name for one in self._listed(domain, LOOK_SECONDS))

    def _looked(self, domain: DomainId, what: str) -> tuple[Listed, ...]:
        """Look after the agent has said that it is done. Raises ``outcome_unknown`` where that fails."""
        try:
            return self._listed(domain)
        except KvmError as error:
            raise _unverified(what, error) from error

    def _id(self, domain: DomainId, name: str) -> str:
        found = next((one.id for one in self._listed(domain) if one.name == name), None)
        if found is None:
            raise removed_meanwhile(domain.name, name)
        return found


def _lesser(plan: SnapshotPlan, tried: _Wish, error: KvmError) -> Optional[_Wish]:
    """Return what to ask for after a clear refusal, where the task says that less will do."""
    request = plan.request
    reason = str(error.details.get("agent_message") or error.message)
    if error.error_code == "memory_blocked" and request.on_memory_blocked == "disk_only":
        freeze, notes = decide_freeze(plan.vm, replace(request, include_memory=False))
        return _Wish(False, freeze, (f"memory left out: {reason}", *notes))
    if error.error_code == "agent_unavailable" and tried.quiesce:
        note = f"not quiesced: {reason}, so the snapshot is crash-consistent"
        return replace(tried, quiesce=False, notes=(*tried.notes, note))
    return None


def _unverified(what: str, error: KvmError) -> KvmError:
    message = f"qx-node said that {what} was done, but could not be asked whether it is there: {error.message}"
    remedy = "Nothing was tried twice. Look with vm_snapshot_info when qx-node answers again."
    return KvmError("outcome_unknown", message, remedy, **error.details)


def _path(domain: DomainId, snapshot_id: str = "") -> str:
    path = f"/vms/{quote(domain.uuid, safe='')}/snapshots"
    return f"{path}/{quote(snapshot_id, safe='')}" if snapshot_id else path


def _lock_directory(base: str) -> str:
    """Return a directory that the user can write, another for each agent."""
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return os.path.join(state, "limiquantix-kvm", "qx_node", hashlib.sha256(base.encode()).hexdigest()[:16])
