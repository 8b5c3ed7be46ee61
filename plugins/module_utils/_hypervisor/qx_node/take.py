# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking a snapshot at the agent: as the task wants it or, where the agent refuses and the task allows it, with less."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from typing import Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.qx_node.error_texts import translated
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.qx_node.http_client import (
    InDoubtError,
    QxNodeError,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.qx_node.json_answers import (
    as_snapshots,
    knowing,
    untold,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.qx_node.lost_answers import (
    unknown,
    was_done,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.qx_node.snapshot_requests import (
    Snapshots,
    path_of,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.qx_node.unsupported import (
    MEMORY_BESIDE_OTHERS,
    memory_beside_others,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.refusals import (
    not_as_told,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.taking.freeze import decide_freeze
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.deadline import Deadline
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.plan import (
    Done,
    SnapshotPlan,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.request import SnapshotRequest
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import Snapshot
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import VirtualMachine

LOOK_ON_HOST = "qx-node says that it is done. Look on the host: virsh snapshot-list, and qx-node's log."
_MEMORY_NOT_KNOWN = (
    "qx-node does not tell beforehand whether the memory can be saved: that shows only when the snapshot is taken"
)
_FREEZE_NOT_KNOWN = "qx-node was asked to freeze the guest's file systems, but does not tell whether it did"


@dataclass(frozen=True)
class _Wish:
    """What one POST asks for beside the name."""

    include_memory: bool
    quiesce: bool
    notes: tuple[str, ...] = ()


def plan_take(vm: VirtualMachine, request: SnapshotRequest) -> SnapshotPlan:
    """Return what is known of a snapshot before the agent has taken it. Raises ``not_supported``."""
    if request.include_memory and vm.snapshots:
        if request.on_memory_blocked != "disk_only":
            raise memory_beside_others(vm.name)
        plan = plan_take(vm, replace(request, include_memory=False))
        return replace(plan, notes=(f"memory left out: {MEMORY_BESIDE_OTHERS}", *plan.notes))
    snapshot = knowing(Snapshot(request.name, untold=untold("")), request.include_memory, None)
    notes = (_MEMORY_NOT_KNOWN,) if request.include_memory else ()
    return SnapshotPlan(vm=vm, request=request, snapshot=snapshot, notes=notes)


def take(snapshots: Snapshots, plan: SnapshotPlan, deadline: Deadline) -> Done:
    """Take it; what the agent refuses for its memory or a freeze is taken without, where the task allows that."""
    notes = tuple(note for note in plan.notes if note != _MEMORY_NOT_KNOWN)
    wish: Optional[_Wish] = _Wish(plan.request.include_memory, plan.freeze, notes)
    while wish:
        tried = wish
        try:
            doubts = _post(snapshots, plan, tried, deadline)
            break
        except KvmError as error:
            wish = _lesser(plan, tried, error)
            if wish is None:
                raise
    quiesced = None if tried.quiesce else False
    asked = (_FREEZE_NOT_KNOWN,) if tried.quiesce else ()
    taken = knowing(_verified(snapshots, plan), tried.include_memory, quiesced)
    return Done((*tried.notes, *asked, *doubts), snapshot=taken)


def _post(snapshots: Snapshots, plan: SnapshotPlan, wish: _Wish, deadline: Deadline) -> tuple[str, ...]:
    vm, name = plan.vm, plan.request.name
    what = f"taking snapshot {name!r} of {vm.name}"
    body = {"name": name, "quiesce": wish.quiesce, "includeMemory": wish.include_memory}
    if plan.request.description:
        body["description"] = plan.request.description
    try:
        snapshots.change("POST", path_of(vm.id), body, deadline, what)
    except QxNodeError as failure:
        raise translated(failure, vm.name, wish.include_memory) from failure
    except InDoubtError as doubt:
        note = was_done(lambda: snapshots.is_listed(vm.id, name), doubt, what)
        if wish.include_memory:  # it is listed from the first moment on, and its memory may still be written
            why = "It is listed, but qx-node does not tell whether all of its memory was saved."
            look = f"While {name!r} is listed, the next run changes nothing: where its memory is missing, remove {name!r} first. "
            look += f"Look with virsh {shlex.join(['snapshot-dumpxml', vm.name, name])} on the host"
            raise unknown(doubt, what, why, look) from doubt
        return (note,)
    return ()


def _verified(snapshots: Snapshots, plan: SnapshotPlan) -> Snapshot:
    vm, name = plan.vm, plan.request.name
    what = f"taking snapshot {name!r} of {vm.name}"
    found = next((one for one in as_snapshots(snapshots.listed_after(vm.id, what)) if one.name == name), None)
    if found is None:
        raise not_as_told(vm.name, name, "taken", LOOK_ON_HOST)
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
