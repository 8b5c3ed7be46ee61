# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Looking at a VM: what it is and which snapshots it has. What is planned, and then done, builds upon that very reading."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.libraries import etree
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.libvirt_errors import (
    translated,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.current_snapshot import is_below
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.judge_frozen_images import (
    Frozen,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.real_paths import real_path
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.merge.live_commit import merge_percent
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.snapshot_xml import (
    from_saved,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.vm_handle import Seen, VmHandle
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.journal import RemoveJournal
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.vm_record import Record, snapshot_key
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.devices import (
    agent_connected,
    image_disks,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.taking.memory import memory_blockers
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import Snapshot, in_tree_order
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import Operation, VirtualMachine, VmId

# virDomainState; what has no process is shut off for our purposes, also while it crashed.
_TRUSTED_SECONDS = 2.0
_STATES = {1: "running", 2: "running", 3: "paused", 4: "running", 5: "shutoff", 6: "crashed", 7: "pmsuspended"}


@dataclass(frozen=True)
class Inspected(VirtualMachine):
    """A VM with the XML it was read from; ``seen`` are libvirt's answers of that moment."""

    xml: Any = None
    read_at: float = field(default=0.0, compare=False)  # of the clock that is never set
    seen: Seen = field(default_factory=dict, compare=False)


def inspect(handle: VmHandle) -> Inspected:
    """Read a VM. Raises ``vm_not_found`` where it went away."""
    with handle.seen_once() as seen:
        return inspected(handle, seen)


def inspected(handle: VmHandle, seen: Seen) -> Inspected:
    """Return the VM as a reading that is under way sees it."""
    read_at = time.monotonic()
    with translated(handle.name, "reading the VM"):
        state, memory_kib, *_rest = handle.native.info()
        handle.learn_power(state)
        persistent = bool(handle.native.isPersistent())
    xml, record = handle.xml(), handle.record()
    return Inspected(
        id=VmId(xml.findtext("name"), handle.id.uuid),  # native.name() is the one it was looked up by
        power=_STATES.get(state, "unknown"),
        persistent=persistent,
        guest_agent=agent_connected(xml),
        memory_bytes=memory_kib * 1024,
        memory_blockers=memory_blockers(xml),
        snapshots=_snapshots(handle, record),
        operation=_operation(handle, record),
        xml=xml,
        read_at=read_at,
        seen=seen,
    )


def is_still(handle: VmHandle, before: Inspected) -> bool:
    """Whether a VM is as it was inspected, a moment ago at most: what was decided by that, its files with it, stands."""
    if time.monotonic() > before.read_at + _TRUSTED_SECONDS:
        return False
    with translated(handle.name, "looking at the VM again"), handle.seen_once():
        state, *_rest = handle.native.info()
        handle.learn_power(state)
        persistent = bool(handle.native.isPersistent())
        names = {one.getName() for one in handle.native.listAllSnapshots(0)}
        return (
            (_STATES.get(state, "unknown"), persistent, names)
            == (before.power, before.persistent, {one.name for one in before.snapshots})
            and handle.record() == before.seen.get("record")
            and etree.tostring(handle.xml()) == etree.tostring(before.xml)
        )


def _operation(handle: VmHandle, record: Record) -> Optional[Operation]:
    """Return what a run has begun; where none is at work on it, QEMU is asked how far the merge is."""
    operation, journal = handle.records.operation(handle.id, record), record.journal
    if operation is None or operation.running or not isinstance(journal, RemoveJournal) or not journal.merging:
        return operation
    return replace(operation, percent=merge_percent(handle) if handle.active() else None)


def of_libvirt(vm: VirtualMachine) -> Inspected:
    """Return a VM that was inspected here. Raises `TypeError` for another backend's."""
    if not isinstance(vm, Inspected):
        raise TypeError("a VM that another backend has inspected")
    return vm


@contextmanager
def as_inspected(handle: VmHandle, vm: VirtualMachine) -> Iterator[Inspected]:
    """Decide by what the inspection of a VM has read, and ask libvirt for the rest once."""
    found = of_libvirt(vm)
    with handle.seen_once(found.seen):
        yield found


def _snapshots(handle: VmHandle, record: Record) -> tuple[Snapshot, ...]:
    xml, found = handle.xml(), handle.saved()
    if not found:
        return ()
    current = handle.called_current()
    if not any(one.name == current and is_below(one, xml) for one in found):
        current = None  # libvirt calls one current for want of a true one, see metadata/snapshot_rewrite.py
    active = {real_path(str(disk.source)) for disk in image_disks(xml)}
    frozen = Frozen(record, {snapshot_key(one.name, one.created_at) for one in found}, active)
    snapshots = [from_saved(one, record.snapshots, frozen.past(one)) for one in found]
    return in_tree_order([replace(one, current=one.name == current) for one in snapshots])
