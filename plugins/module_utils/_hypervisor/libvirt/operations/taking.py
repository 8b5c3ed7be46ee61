# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One snapshot being taken: record, make the overlays, freeze, switch all disks at once, thaw, verify."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from typing import Any

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.connection import (
    from_libvirt,
    open_connection,
    translated,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.library import libvirt
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.volumes import (
    read_domain,
    read_snapshot,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.frozen import Frozen
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.image import (
    create_overlay,
    own_like,
    read_image,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.noting import (
    States,
    made_of,
    states_of,
    with_left,
    with_taken,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.guest.freeze import (
    frozen,
    guest_still_frozen,
    with_frozen_guest,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.qemu_user import (
    QemuUser,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.jobs import refuse_domain_job
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.rewrite import make_root
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.saved import Saved, saved
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.snapshot_xml import (
    from_saved,
    to_xml,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.operations.alarm import alarm
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.operations.follow import follow
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.operations.operation import (
    Tools,
    remove_unused,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.vm import VmHandle
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.journal import TakeJournal, now
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.record import (
    SnapshotNote,
    snapshot_key,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.devices import Disk, disks
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.taking.freeze import (
    Freeze,
    freeze_seconds,
    notes_on,
    require_frozen,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.taking.memory import memory_timeout
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.deadline import Deadline
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.plan import Done, SnapshotPlan
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import Snapshot

_DISK_ONLY, _REUSE_EXT, _ATOMIC, _LIVE = 16, 32, 128, 256  # virDomainSnapshotCreateFlags

_ABORT_AGAIN = 0.1  # seconds


class Taking:
    """One snapshot being taken. ``before`` has the VM's disks, ``users`` as whom QEMU opens those that it is not given."""

    def __init__(
        self,
        handle: VmHandle,
        tools: Tools,
        plan: SnapshotPlan,
        before: Mapping[str, Disk],
        users: Mapping[str, QemuUser],
    ) -> None:
        self._handle = handle
        self._domain = handle.native
        self._tools = tools
        self._plan = plan
        self._before = before
        self._users = users

    def run(self, deadline: Deadline) -> Done:
        handle, plan, name = self._handle, self._plan, self._handle.name
        files, kept = _files(plan), handle.keep_record()
        handle.write(replace(handle.record(), journal=TakeJournal(plan.snapshot.name, None, now(), files)))
        freeze = Freeze()
        try:
            self._make_overlays()
            if plan.vm.active:
                with translated(name, "asking for its jobs"):
                    refuse_domain_job(name, self._domain)  # one that has begun since it was planned
            with self._frozen(deadline) as freeze:
                require_frozen(plan, freeze)
                snapshot = self._switch(deadline)
        except KvmError as error:
            self._undo(files, kept)
            raise with_frozen_guest(error, name, freeze) from error
        except Exception:  # a bug of ours: told as such, and nothing is left behind
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
        return Done(notes_on(plan, freeze), snapshot=taken)

    def _take_root(self) -> None:
        """Undo that libvirt based the snapshot on one that it only called current, for want of a true one."""
        handle = self._handle
        handle.agree(handle.survey(), {})
        make_root(handle.native, self._plan.snapshot.name)

    def _write_record(self, found: Saved, freeze: Freeze) -> Snapshot:
        handle, planned = self._handle, self._plan.snapshot
        states = {**_states(self._plan), **states_of([found])}
        record = with_taken(handle.record(), found, states)
        note = SnapshotNote(freeze.held, True, planned.protected, dict(planned.labels), record.serial)
        overlays = {one.target: os.path.realpath(str(one.file)) for one in planned.disks}
        noted = {**record.snapshots, snapshot_key(found.name, found.created_at): note}
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
        return replace(taken, parent=planned.parent, current=True, left_out=planned.left_out)

    def _make_overlays(self) -> None:
        if not self._made_by_us():
            return
        for overlay in self._plan.snapshot.disks:
            disk = self._before[overlay.target]
            image = read_image(str(disk.source), disk.format)
            user = self._users.get(overlay.target)
            create_overlay(str(overlay.file), str(disk.source), disk.format, image.virtual_size, user)

    def _made_by_us(self) -> bool:
        """Whether the overlays are made before libvirt is asked, or by it.

        Of a VM that is off libvirt before 11.10 makes them readable by everybody (CVE-2025-13193); of a frozen guest it
        would make them while the guest waits; what it does not give to QEMU, QEMU cannot open. Otherwise QEMU makes them
        itself, which is quicker than a process for each.
        """
        return self._plan.freeze or not self._plan.vm.active or bool(self._users)

    def _frozen(self, deadline: Deadline) -> AbstractContextManager[Freeze]:
        if not self._plan.freeze:
            return nullcontext(Freeze())
        return frozen(self._domain, self._handle.name, self._tools.guard, freeze_seconds(self._plan, deadline))

    def _switch(self, deadline: Deadline) -> Any:
        """Let libvirt switch every disk to its overlay in one transaction; with memory, save that first."""
        plan, name = self._plan, self._handle.name
        memory = plan.request.include_memory
        flags = _ATOMIC
        flags |= _REUSE_EXT if self._made_by_us() else 0
        flags |= _LIVE if memory and plan.vm.state == "running" else 0
        flags |= 0 if memory else _DISK_ONLY
        aborted = threading.Event()
        with alarm(deadline.remaining() if memory else None, lambda finished: self._abort_job(aborted, finished)):
            try:
                return self._domain.snapshotCreateXML(to_xml(plan, list(self._before)), flags)
            except libvirt.libvirtError as error:
                if aborted.is_set():
                    raise memory_timeout(name, deadline.seconds) from error
                raise from_libvirt(error, name, "taking the snapshot") from error

    def _abort_job(self, aborted: threading.Event, finished: threading.Event) -> None:
        aborted.set()
        domain = open_connection(self._tools.uri).lookupByUUIDString(self._domain.UUIDString())
        while not finished.wait(_ABORT_AGAIN):
            with suppress(libvirt.libvirtError):  # the job has not begun yet, or has just ended by itself
                domain.abortJob()

    def _verify(self) -> None:
        """Compare libvirt's word and the files' with the plan: each disk on its overlay, that on what the disk was."""
        plan = self._plan
        with translated(plan.vm.name, "reading the disks"):
            now = {disk.target: disk for disk in disks(read_domain(self._domain))}
        for overlay in plan.snapshot.disks:
            disk, base = now[overlay.target], str(self._before[overlay.target].source)
            try:
                own_like(str(overlay.file), base, self._users.get(overlay.target))
                below = read_image(str(overlay.file), "qcow2").backing_file
            except (OSError, ValueError) as error:
                raise _not_as_asked(plan.vm.name, overlay.target, f"{overlay.file} cannot be read: {error}") from error
            if disk.source != overlay.file or os.path.realpath(str(below)) != os.path.realpath(base):
                difference = f"it is on {disk.source}, and {overlay.file} is backed by {below}"
                raise _not_as_asked(plan.vm.name, overlay.target, difference)

    def _undo(self, files: Iterable[str], kept: bytes | None) -> None:
        """Remove what was made for a snapshot that failed; the record stays if that cannot be made sure of."""
        with suppress(KvmError):  # libvirt is gone: the next run on this VM finds the record and clears up
            remove_unused(self._handle, files)
            self._handle.never_was(files)
            self._handle.put_back_record(kept)


def _states(plan: SnapshotPlan) -> States:
    """Return the states of the snapshots that the VM had before."""
    return {
        snapshot_key(one.name, one.created_at): {os.path.realpath(disk.base) for disk in one.disks if disk.base}
        for one in plan.vm.snapshots
    }


def _files(plan: SnapshotPlan) -> tuple[str, ...]:
    memory = (plan.snapshot.memory_file,) if plan.snapshot.memory_file else ()
    return (*(str(disk.file) for disk in plan.snapshot.disks), *memory)


def _not_as_asked(vm: str, target: str, difference: str) -> KvmError:
    return KvmError(
        "verification_failed",
        f"Disk {target} of {vm} is not as libvirt was asked to make it for the snapshot: {difference}.",
        "Do not delete any file. Look with vm_snapshot_info and at libvirt's log.",
    )
