# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking a planned snapshot: record, make the overlays, freeze, switch all disks at once, thaw, verify."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import replace
from typing import Any, Callable, Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.checks import refuse_domain_job
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
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.frozen import (
    Frozen,
    States,
    is_soon,
    states_of,
    with_taken,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.image import (
    create_overlay,
    own_like,
    read_image,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.guest.freeze import frozen
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.guest.thaw_guard import ThawGuard
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.identity import identity
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.open_files import open_now
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.qemu_user import of_unlabelled
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.merge.qemu_monitor import (
    leave_overlays,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.rewrite import make_root
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.saved import Saved, saved
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.snapshot_xml import (
    from_saved,
    to_xml,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.vm import DomainHandle
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.journal import Journal, now
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.record import (
    Made,
    Records,
    SnapshotNote,
    snapshot_key,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml import disks
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.freeze import (
    Freeze,
    freeze_seconds,
    notes_on,
    require_frozen,
    thaw_failed,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.memory import memory_timeout
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.deadline import Deadline
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.plan import Recovery, SnapshotPlan, Taken
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import Snapshot

_DISK_ONLY, _REUSE_EXT, _ATOMIC, _LIVE = 16, 32, 128, 256  # virDomainSnapshotCreateFlags

_ABORT_AGAIN = 0.1  # seconds


class Take:
    """One snapshot of one domain, from plan to `Taken`."""

    def __init__(self, handle: DomainHandle, uri: str, records: Records, guard: ThawGuard, xml: Any) -> None:
        self._handle = handle
        self._domain = handle.native
        self._uri = uri
        self._records = records
        self._guard = guard
        self._before = {disk.target: disk for disk in disks(xml)}
        with translated(handle.name, "asking as whom QEMU runs"):
            self._users = of_unlabelled(handle.connection, xml)

    def run(self, plan: SnapshotPlan, deadline: Deadline) -> Taken:
        """Take it. Raises as `Hypervisor.take` says; the VM is as it was, or the error says otherwise."""
        vm = plan.vm
        files = _files(plan)
        journal = Journal("take", plan.snapshot.name, None, now(), files)
        before = self._records.keep(vm.id)
        self._records.write(vm.id, replace(self._records.read(vm.id), journal=journal))
        freeze = Freeze()
        try:
            self._make_overlays(plan)
            if plan.vm.active:
                with translated(vm.name, "asking for what goes on with it"):
                    refuse_domain_job(vm.name, self._domain)  # one that has begun since it was planned
            with self._frozen(plan, deadline) as freeze:
                require_frozen(plan, freeze)
                snapshot = self._switch(plan, deadline)
        except KvmError as error:
            self._undo(plan, files, before)
            raise _with_frozen_guest(error, vm.name, freeze) from error
        except Exception:  # a bug of ours: told as such, and nothing is left behind
            self._undo(plan, files, before)
            raise
        with translated(vm.name, "reading back the snapshot"):
            found = saved(read_snapshot(snapshot))
            follow(self._handle, found)
            if plan.snapshot.parent is None and found.parent is not None:
                self._take_root(plan)
        taken = self._write_record(plan, found, freeze)
        self._verify(plan)
        if freeze.still_frozen:
            raise _still_frozen(vm.name)
        return Taken(taken, notes_on(plan, freeze))

    def _take_root(self, plan: SnapshotPlan) -> None:
        """Undo that libvirt based the snapshot on one that it only called current, for want of a true one."""
        handle = self._handle
        handle.agree(handle.survey(), {})
        make_root(handle.native, plan.snapshot.name)

    def _write_record(self, plan: SnapshotPlan, found: Saved, freeze: Freeze) -> Snapshot:
        planned, states = plan.snapshot, {**_states(plan), **states_of([found])}
        record = with_taken(self._records.read(plan.vm.id), found, states)
        note = SnapshotNote(freeze.held, True, planned.protected, dict(planned.labels), record.serial)
        made = {os.path.realpath(str(one.file)): Made(one.target, identity(str(one.file))) for one in planned.disks}
        noted = {**record.snapshots, snapshot_key(found.name, found.created_at): note}
        record = replace(record, snapshots=noted, made={**record.made, **made}, journal=None)
        self._records.write(plan.vm.id, record)
        past = Frozen(record, states).past(found)
        # Why a disk is left out is known best to whoever left it out.
        taken = from_saved(found, record.snapshots, past)
        return replace(taken, parent=planned.parent, current=True, left_out=planned.left_out)

    def _make_overlays(self, plan: SnapshotPlan) -> None:
        if not self._made_by_us(plan):
            return
        for overlay in plan.snapshot.disks:
            disk = self._before[overlay.target]
            image = read_image(str(disk.source), disk.format)
            user = self._users.get(overlay.target)
            create_overlay(str(overlay.file), str(disk.source), disk.format, image.virtual_size, user)

    def _made_by_us(self, plan: SnapshotPlan) -> bool:
        """Whether the overlays are made before libvirt is asked, or by it.

        Of a VM that is off libvirt before 11.10 makes them readable by everybody (CVE-2025-13193); of a frozen guest it
        would make them while the guest waits; what it does not give to QEMU, QEMU cannot open. Otherwise QEMU makes them
        itself, which is quicker than a process for each.
        """
        return plan.freeze or not plan.vm.active or bool(self._users)

    def _frozen(self, plan: SnapshotPlan, deadline: Deadline) -> AbstractContextManager[Freeze]:
        if not plan.freeze:
            return nullcontext(Freeze())
        return frozen(self._domain, plan.vm.name, self._guard, freeze_seconds(plan, deadline))

    def _switch(self, plan: SnapshotPlan, deadline: Deadline) -> Any:
        """Let libvirt switch every disk to its overlay in one transaction; with memory, save that first."""
        name, memory = plan.vm.name, plan.request.include_memory
        flags = _ATOMIC
        flags |= _REUSE_EXT if self._made_by_us(plan) else 0
        flags |= _LIVE if memory and plan.vm.state == "running" else 0
        flags |= 0 if memory else _DISK_ONLY
        aborted = threading.Event()
        with _alarm(deadline.remaining() if memory else None, lambda finished: self._abort_job(aborted, finished)):
            try:
                return self._domain.snapshotCreateXML(to_xml(plan, list(self._before)), flags)
            except libvirt.libvirtError as error:
                if aborted.is_set():
                    raise memory_timeout(name, deadline.seconds) from error
                raise from_libvirt(error, name, "taking the snapshot") from error

    def _abort_job(self, aborted: threading.Event, finished: threading.Event) -> None:
        aborted.set()
        domain = open_connection(self._uri).lookupByUUIDString(self._domain.UUIDString())
        while not finished.wait(_ABORT_AGAIN):
            with suppress(libvirt.libvirtError):  # the job has not begun yet, or has just ended by itself
                domain.abortJob()

    def _verify(self, plan: SnapshotPlan) -> None:
        """Compare libvirt's word and the files' with the plan: each disk on its overlay, that on what the disk was."""
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

    def _undo(self, plan: SnapshotPlan, files: Iterable[str], before: bytes | None) -> None:
        """Remove what was made for a snapshot that failed; the record stays if that cannot be made sure of."""
        with suppress(KvmError):  # libvirt is gone: the next run on this VM finds the record and clears up
            remove_unused(self._handle, files)
            self._records.put_back(plan.vm.id, before)


def remove_unused(handle: DomainHandle, files: Iterable[str]) -> None:
    """Delete those of a take's files that came to no use: no VM of this host, no snapshot and no other image needs them."""
    existing = {os.path.realpath(file): file for file in files if os.path.exists(file)}
    if not existing:
        return
    layers, users = handle.survey().layers, handle.around().users
    named = {os.path.realpath(file) for one in handle.saved() for file in (*one.overlays, str(one.memory_file))}
    needed = layers.present | layers.states | named
    handle.unlink(
        file
        for real, file in existing.items()
        if real not in needed and not layers.above(real) and not users.of(real, handle.id.uuid)
    )


def resume_take(handle: DomainHandle, journal: Journal) -> Recovery:
    """Bring an interrupted take to its end: the snapshot is there and stays, or what was made for it goes."""
    taken = next((one for one in handle.saved() if one.name == journal.snapshot), None)
    ours = taken is not None and set(journal.files).issuperset(taken.overlays)
    record = handle.record()
    if taken is None or not ours:
        _leave_unknown(handle, journal)
        remove_unused(handle, journal.files)
        handle.write(replace(record, journal=None))
        return Recovery(f"Cleared up what the interrupted take of snapshot {journal.snapshot!r} had left.", False)
    follow(handle, taken)
    key = snapshot_key(taken.name, taken.created_at)
    if key not in record.snapshots:
        soon = is_soon(taken)  # else somebody may have written to its images meanwhile
        record = with_taken(record, taken, states_of(handle.saved())) if soon else record
        # Whether the guest was frozen all the time is not known.
        note = SnapshotNote(serial=record.serial if soon else 0)
        record = replace(record, snapshots={**record.snapshots, key: note})
    handle.write(replace(record, journal=None))
    return Recovery(f"The interrupted run had taken snapshot {journal.snapshot!r}.")


def follow(handle: DomainHandle, taken: Saved) -> None:
    """Put the definition of a running VM on the overlays too, where libvirt left it on the images under them.

    Libvirt 7.0 does so with a volume of a pool, which it takes for another image than the file that it has translated that
    to: at its next start the VM would write to what the snapshot has frozen (9.0 and 11.3 do not).
    """
    if not handle.active():
        return
    defined = {disk.target: disk for disk in disks(handle.definition())}
    behind = {
        part.target: (part.overlay, "qcow2")
        for part in taken.disks
        if part.overlay and (disk := defined.get(part.target)) and _is_same(disk.source, part.state)
    }
    if behind:
        handle.define(behind)


def _is_same(path: Optional[str], other: str) -> bool:
    return path is not None and os.path.realpath(path) == os.path.realpath(other)


def _leave_unknown(handle: DomainHandle, journal: Journal) -> None:
    """Bring QEMU back from overlays that it went to, or has opened, while libvirt was killed."""
    known = {str(disk.source) for disk in disks(handle.xml())}
    overlays = {os.path.realpath(file) for file in journal.files} - {os.path.realpath(file) for file in known}
    # Also one that it has opened for reading only, to begin with: another of the same name could not be opened then.
    if handle.active() and open_now(overlays):
        leave_overlays(handle.name, handle.native, overlays)


def _states(plan: SnapshotPlan) -> States:
    """Return the states of the snapshots that the VM had before."""
    return {
        snapshot_key(one.name, one.created_at): {os.path.realpath(disk.base) for disk in one.disks if disk.base}
        for one in plan.vm.snapshots
    }


def _files(plan: SnapshotPlan) -> tuple[str, ...]:
    memory = (plan.snapshot.memory_file,) if plan.snapshot.memory_file else ()
    return (*(str(disk.file) for disk in plan.snapshot.disks), *memory)


@contextmanager
def _alarm(seconds: float | None, ring: Callable[[threading.Event], None]) -> Iterator[None]:
    """Call ``ring`` in a thread of its own when the block takes longer than ``seconds``; never for None.

    It is given an event that tells when the block has ended.
    """
    if seconds is None:
        yield
        return
    finished = threading.Event()
    timer = threading.Timer(seconds, ring, args=(finished,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        finished.set()


def _not_as_asked(vm: str, target: str, difference: str) -> KvmError:
    return KvmError(
        "verification_failed",
        f"After the snapshot disk {target} of {vm} is not as libvirt was asked to make it: {difference}.",
        "Delete no file. Look at vm_snapshot_info and libvirt's log.",
    )


def _still_frozen(vm: str) -> KvmError:
    remedy = f"A process on the host goes on trying to thaw it for ten minutes; by hand: virsh domfsthaw {vm}."
    return thaw_failed(vm, remedy)


def _with_frozen_guest(error: KvmError, vm: str, freeze: Freeze) -> KvmError:
    """A guest that may still be frozen is worse news than why the snapshot failed: say both."""
    if not freeze.still_frozen:
        return error
    worse = _still_frozen(vm)
    return KvmError(worse.error_code, f"{error.message} {worse.message}", worse.remedy, **error.details)
