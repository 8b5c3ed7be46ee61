# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking a snapshot as it was planned, and bringing one to its end that was interrupted."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.libvirt_errors import (
    translated,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.backing_chain import holds_more
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.note_frozen_images import (
    is_soon,
    made_of,
    states_of,
    with_left,
    with_taken,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.file_deletion import check_closed
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.firmware.take_copy import late_notes
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.guest.hold import resume
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.guest.thaw_guard import PAUSED
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.open_files import open_now
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.qemu_user import (
    of_unlabelled,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.real_paths import real_path
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.inspection import (
    Inspected,
    of_libvirt,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.merge.qemu_monitor import (
    leave_overlays,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.saved_snapshot import Saved
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.operations.define_overlays import (
    follow,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.operations.operation import (
    Operation,
    remove_unused,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.operations.take_plan import plan_take
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.operations.take_steps import Taking
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.vm_handle import VmHandle
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.meeting import Meeting
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.firmware_notes import FirmwareCopy
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.journal import TakeJournal
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.vm_record import (
    Record,
    SnapshotRecord,
    snapshot_key,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.devices import disks
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.plan import Done, Recovery, SnapshotPlan
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.request import SnapshotRequest

_SURELY_OURS = timedelta(minutes=2)  # since a run began: nobody suspends a VM so soon after that


class Take(Operation[SnapshotRequest, SnapshotPlan, TakeJournal]):
    """Taking a planned snapshot of a VM."""

    kind = TakeJournal.kind
    meeting: Optional[Meeting] = None  # of the members of a group on this host, where it is one

    def _plan(self, vm: Inspected, wish: SnapshotRequest) -> SnapshotPlan:
        """Decide disks and files. Raises as `Hypervisor.plan_take` says."""
        return plan_take(self._handle, vm, wish)

    def _run(self, plan: SnapshotPlan) -> Done:
        """Take it. Raises as `Hypervisor.take` says; the VM is as it was, or the error says otherwise."""
        handle, xml = self._handle, of_libvirt(plan.vm).xml
        with translated(handle.name, "asking which user QEMU runs as"):
            users = of_unlabelled(handle.connection, xml)
        before = {disk.target: disk for disk in disks(xml)}
        return Taking(handle, self._tools, plan, before, users, meeting=self.meeting).run(self._pace.deadline)

    def _resume(self, journal: TakeJournal) -> Recovery:
        """Bring an interrupted take to its end: the snapshot is there and stays, or what was made for it goes."""
        handle = self._handle
        paused = _let_go_on(handle, journal)
        taken = next((one for one in handle.saved() if one.name == journal.snapshot), None)
        # Every snapshot of ours has overlays: one of that name without any is what somebody has taken since, inside the image.
        if taken is None or not (taken.overlays and set(journal.files).issuperset(taken.overlays)):
            left = _leave_unknown(handle, journal)
            others = [
                file for file in journal.files if file.endswith(".qcow2") and file not in left and holds_more(file)
            ]
            remove_unused(handle, [file for file in journal.files if file not in others])
            handle.write(replace(handle.record(), journal=None))
            said = f"Removed what an interrupted run had left of taking snapshot {journal.snapshot!r}."
            stays = [
                f"{file} stays: it holds data that the run had not written. Find out whose it is." for file in others
            ]
            return Recovery(" ".join((said, *stays, *paused)), False)
        follow(handle, taken)
        copies = late_notes(journal)
        noted = _with_late_note(handle.record(), taken, handle.saved(), journal.group_labels, copies)
        handle.write(replace(noted, journal=journal))
        remove_unused(handle, [one.file for part, one in journal.copying.items() if part not in copies])
        handle.write(replace(noted, journal=None))
        said = f"An interrupted run had taken snapshot {journal.snapshot!r}, and it is complete."
        return Recovery(" ".join((said, *paused)))

    def _check_resume(self, journal: TakeJournal) -> None:
        super()._check_resume(journal)
        listed = any(one.name == journal.snapshot for one in self._handle.saved())
        if not (listed or self._handle.active()):  # a QEMU that has an overlay open is brought back from it
            check_closed(self._handle.name, filter(os.path.exists, journal.files))


def _let_go_on(handle: VmHandle, journal: TakeJournal) -> tuple[str, ...]:
    """Resume a VM that the killed run has suspended; return what to say where somebody else may have, since then.

    Its guard has done that at once, unless that was killed as well.
    """
    with translated(handle.name, "asking for its state"):
        if not journal.held or handle.native.state()[0] != PAUSED:
            return ()
    if datetime.now(timezone.utc) - datetime.fromisoformat(journal.started_at) < _SURELY_OURS:
        resume(handle.native, handle.name)
        return ()
    return (
        f"{handle.name} is suspended. If nobody has done that on purpose since that run, resume it: virsh resume {handle.name}.",
    )


def _with_late_note(
    record: Record, taken: Saved, every: Iterable[Saved], labels: dict[str, str], copies: dict[str, FirmwareCopy]
) -> Record:
    """Return the record with a note of a snapshot that a killed run took; whether the guest was frozen is not known."""
    key = snapshot_key(taken.name, taken.created_at)
    if key in record.snapshots:
        return record
    overlays = {part.target: real_path(part.overlay) for part in taken.disks if part.overlay}
    kept = with_left(record, ())  # what is in use among them is found out before a file goes
    made, active = {**record.made, **made_of(overlays)}, {**record.active, **overlays}
    record = replace(record, made=made, active=active, kept=kept)
    soon = is_soon(taken)  # else somebody may have written to its images meanwhile
    record = with_taken(record, taken, states_of(every)) if soon else record
    note = SnapshotRecord(serial=record.serial if soon else 0, labels=labels).with_copies(copies)
    return replace(record, snapshots={**record.snapshots, key: note})


def _leave_unknown(handle: VmHandle, journal: TakeJournal) -> set[str]:
    """Bring QEMU back from overlays that it went to, or has opened, while libvirt was killed; return them as they are named."""
    known = {str(disk.source) for disk in disks(handle.xml())}
    overlays = {real_path(file) for file in journal.files} - {real_path(file) for file in known}
    # Also one that it has opened for reading only, to begin with: another of the same name could not be opened then.
    if not (handle.active() and open_now(overlays)):
        return set()
    leave_overlays(handle.name, handle.native, overlays)
    return {file for file in journal.files if real_path(file) in overlays}
