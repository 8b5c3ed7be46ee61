# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One snapshot being taken: record, make the overlays, freeze, switch all disks at once, thaw, verify."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from typing import Any, Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.chain_checks import check_taken
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.libvirt_errors import (
    translated,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.pool_volumes import (
    read_snapshot,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.image_header import read_image
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.judge_frozen_images import (
    Frozen,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.new_overlay import (
    create_overlay,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.note_frozen_images import (
    made_of,
    states_before,
    states_of,
    with_left,
    with_taken,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.firmware.swtpm import firmware_of
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.firmware.take_copy import (
    FirmwareCopies,
    planned_copying,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.guest.freeze import (
    frozen,
    guest_still_frozen,
    with_frozen_guest,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.guest.hold import appointed, suspended
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.qemu_user import QemuUser
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.real_paths import real_path
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.inspection import of_libvirt
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.saved_snapshot import (
    Saved,
    saved,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.snapshot_rewrite import (
    make_root,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.snapshot_xml import (
    from_saved,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.operations.create_snapshot import (
    create_snapshot,
    disks_now,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.operations.define_overlays import (
    follow,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.operations.operation import (
    Tools,
    remove_unused,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.running_jobs import refuse_vm_job
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.vm_handle import VmHandle
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.meeting import Meeting
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.journal import TakeJournal, now
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.vm_record import (
    SnapshotRecord,
    snapshot_key,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.devices import Disk
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.firmware_states import NVRAM, TPM
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.keeping.expiry import expiry
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.keeping.times import recorded
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.taking.freeze import (
    Freeze,
    freeze_seconds,
    notes_on,
    require_frozen,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.deadline import Deadline
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.plan import Done, SnapshotPlan
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import Snapshot


class Taking:
    """One snapshot being taken. ``before`` has the VM's disks, ``users`` as whom QEMU opens those that it is not given."""

    def __init__(
        self,
        handle: VmHandle,
        tools: Tools,
        plan: SnapshotPlan,
        before: Mapping[str, Disk],
        users: Mapping[str, QemuUser],
        *,
        meeting: Optional[Meeting] = None,
    ) -> None:
        self._handle = handle
        self._domain = handle.native
        self._tools = tools
        self._plan = plan
        self._before = before
        self._users = users
        self._meeting = meeting
        self._made = False  # whether the overlays are there before libvirt is asked
        copies = plan.snapshot.firmware_copies
        with translated(handle.name, "asking where its firmware keeps its state"):
            states = firmware_of(handle.connection, of_libvirt(plan.vm).xml) if copies else {}
        self._firmware = FirmwareCopies(planned_copying(copies, states))

    def run(self, deadline: Deadline) -> Done:
        handle, plan, name = self._handle, self._plan, self._handle.name
        files, kept = _files(plan), handle.keep_record()
        group = dict(plan.snapshot.labels) if self._meeting else {}
        journal = self._noted(TakeJournal(plan.snapshot.name, None, now(), files, group))
        handle.write(replace(handle.record(), journal=journal))
        freeze, snapshot = Freeze(), None
        try:
            if others := self._firmware.begin():
                files = tuple(file for file in files if file not in others)
                handle.write(replace(handle.record(), journal=self._noted(replace(journal, files=files))))
            self._make_overlays()
            if plan.vm.active:
                with translated(name, "asking for its jobs"):
                    refuse_vm_job(name, self._domain)  # one that has begun since it was planned
            with self._appointed() as hold, self._frozen(deadline) as freeze:
                require_frozen(plan, freeze)
                with hold:
                    self._firmware.make()
                    snapshot = self._switch(deadline)
        except KvmError as error:
            if snapshot is None:  # else libvirt has failed since: the next run on this VM finishes it by the journal
                self._undo(files, kept)
            raise with_frozen_guest(error, name, freeze) from error
        except Exception:  # a bug of ours: told as such, and nothing is left behind
            if snapshot is None:
                self._undo(files, kept)
            raise
        with translated(name, "reading back the snapshot"):
            found = saved(read_snapshot(snapshot))
            follow(handle, found)
            if plan.snapshot.parent is None and found.parent is not None:
                self._take_root()
        taken = self._write_record(found, freeze)
        self._verify()
        if freeze.still_frozen:
            raise guest_still_frozen(name)
        return Done((*notes_on(plan, freeze), *self._firmware.notes), snapshot=taken)

    def _noted(self, journal: TakeJournal) -> TakeJournal:
        copying = self._firmware.copying
        return replace(journal, held=self._held(), nvram=copying.get(NVRAM), tpm=copying.get(TPM))

    def _take_root(self) -> None:
        """Undo that libvirt based the snapshot on one that it only called current, for want of a true one."""
        handle = self._handle
        handle.agree(handle.survey(), {})
        make_root(handle.native, self._plan.snapshot.name)

    def _write_record(self, found: Saved, freeze: Freeze) -> Snapshot:
        handle, planned = self._handle, self._plan.snapshot
        states = {**states_before(self._plan.vm), **states_of([found])}
        record = with_taken(handle.record(), found, states)
        expires = expiry(self._plan.request.expires, recorded(found.created_at))
        copies = self._firmware.notes_of()
        note = SnapshotRecord(freeze.held, True, planned.protected, dict(planned.labels), record.serial, expires)
        overlays = {one.target: real_path(str(one.file)) for one in planned.disks}
        noted = {**record.snapshots, snapshot_key(found.name, found.created_at): note.with_copies(copies)}
        record = replace(
            record,
            snapshots=noted,
            made={**record.made, **made_of(overlays)},
            kept=with_left(record, self._before.values()),
            active={**record.active, **overlays},
            journal=None,
        )
        handle.write(record)
        past = Frozen(record, states).past(found)
        # Why a disk is left out is known best to whoever left it out.
        taken = from_saved(found, record.snapshots, past)
        return replace(taken, parent=planned.parent, current=True, left_out=self._firmware.told(planned))

    def _make_overlays(self) -> None:
        # Asked once: a VM of whose firmware nothing can be copied is not held in the end, and they are there all the same.
        self._made = self._made_by_us()
        for overlay in self._plan.snapshot.disks if self._made else ():
            disk = self._before[overlay.target]
            image = read_image(str(disk.source), disk.format)
            user = self._users.get(overlay.target)
            create_overlay(str(overlay.file), str(disk.source), disk.format, image.virtual_size, user)

    def _made_by_us(self) -> bool:
        """Whether the overlays are made before libvirt is asked, or by it.

        Of a VM that is off libvirt before 11.10 makes them readable by everybody (CVE-2025-13193); of a frozen or held guest
        it would make them while the guest waits; what it does not give to QEMU, QEMU cannot open. Otherwise QEMU makes them
        itself, which is quicker than a process for each.
        """
        return self._plan.freeze or not self._plan.vm.active or self._held() or bool(self._users or self._meeting)

    def _held(self) -> bool:
        """Whether the VM is suspended while its disks are switched."""
        return self._plan.vm.power == "running" and bool(self._meeting or self._firmware.copying)

    def _appointed(self) -> AbstractContextManager[AbstractContextManager[None]]:
        if self._meeting is None:
            return nullcontext(self._suspended() if self._held() else nullcontext())
        return appointed(self._domain, self._handle.name, self._tools.guard, self._meeting)

    def _suspended(self) -> AbstractContextManager[None]:
        return suspended(self._domain, self._handle.name, self._tools.guard, self._firmware.give_up)

    def _frozen(self, deadline: Deadline) -> AbstractContextManager[Freeze]:
        if not self._plan.freeze:
            return nullcontext(Freeze())
        most = self._meeting.seconds_left() if self._meeting else float("inf")
        seconds = max(1, int(min(freeze_seconds(self._plan, deadline), most)))
        return frozen(self._domain, self._handle.name, self._tools.guard, seconds)

    def _switch(self, deadline: Deadline) -> Any:
        """Let libvirt switch every disk to its overlay at once."""
        return create_snapshot(self._domain, self._tools.uri, self._plan, self._before, deadline, made=self._made)

    def _verify(self) -> None:
        """Compare libvirt's word and the files' with the plan: each disk on its overlay, that on what the disk was."""
        check_taken(self._plan, self._before, disks_now(self._domain, self._handle.name), self._users)

    def _undo(self, files: Iterable[str], kept: bytes | None) -> None:
        """Remove what was made for a snapshot that failed; the record stays if that cannot be made sure of."""
        with suppress(KvmError):  # libvirt is gone: the next run on this VM finds the record and clears up
            remove_unused(self._handle, files)
            self._handle.never_was(files)
            self._handle.put_back_record(kept)


def _files(plan: SnapshotPlan) -> tuple[str, ...]:
    memory = (plan.snapshot.memory_file,) if plan.snapshot.memory_file else ()
    return (*(str(disk.file) for disk in plan.snapshot.disks), *memory, *plan.snapshot.firmware_copies.values())
