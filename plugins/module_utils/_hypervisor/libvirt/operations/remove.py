# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Removing a snapshot: note its layers, begin to merge, forget it, settle the layers, verify.

It is forgotten as soon as its state begins to be written to, and never after: nobody can revert to a mixture. What was
noted first lets any later run go on from wherever this one ended. The same steps on every libvirt; its own delete (since
9.0) is not used, because it knows no branches, and starts a QEMU to merge layers of a VM that is off. Only snapshots
inside images are left to it.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from dataclasses import replace

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.checks import (
    check_chains,
    check_frozen,
    check_idle,
    in_use,
    refuse_spoiling,
    refuse_unresolved,
    refuse_writers,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.connection import translated
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.library import (
    require_qemu_img,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.frozen import looked_at
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.image import read_image
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.leftovers import leftovers
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.room import require_room
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.survey import Forest
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.holders import mounted_from
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.host_files import UNREADABLE
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.open_files import (
    is_device,
    locked,
    noted_as,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.merge.live import abort_commit
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.merge.qemu_monitor import qemu_pid
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.merge.steps import see_merged, settle
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.rewrite import forget
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.saved import Saved, SavedDisk
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.vm import DomainHandle
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.journal import Journal, now
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.record import Record, snapshot_key
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.layers import Drop, Merge, Step, gone, steps
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.past import being_written
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.refusals import mixed_chain
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.deadline import Pace
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.plan import RemovalPlan
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import Snapshot
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.storage import Leftover
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import VirtualMachine


def plan_removal(
    handle: DomainHandle, vm: VirtualMachine, snapshots: tuple[Snapshot, ...], orphans: Iterable[str]
) -> RemovalPlan:
    """Return the plan. Raises as `Hypervisor.plan_removal` says."""
    check_idle(handle, vm)
    names = {one.name for one in snapshots}
    every = handle.saved()
    going = [one for one in every if one.name in names]
    refuse_unresolved(handle.name, every)
    for one in going:
        if one.kind == "mixed":
            raise mixed_chain(handle.name, f"snapshot {one.name!r} is partly inside its images and partly not")
    check_chains(handle)
    check_frozen(handle, every)
    forest = handle.survey(names, noted(handle.record(), going, every), set(orphans))
    for orphan in forest.layers.backing.keys() & set(orphans):
        forest.layers.done(Drop(orphan))
    notes = _notes(forest, going)
    in_qemu = {file for top in forest.tops.values() for file in forest.chain(top)} if forest.running else set()
    found = steps(forest.layers)
    if any(isinstance(step, Merge) and not in_qemu.issuperset((step.top, *step.above)) for step in found):
        require_qemu_img(handle.name)
    refuse_spoiling(handle.name, forest.images, every, {file for step in found for file in _written(step)})
    require_room(handle.name, forest.images, found)
    _refuse_open(handle, found)
    memory = tuple(one.memory_file for one in going if one.memory_file and os.path.exists(one.memory_file))
    files = tuple(forest.spelled.get(file, file) for file in gone(found) if not is_device(file))
    kept = _kept(handle.name, forest, every, names)
    return RemovalPlan(vm, snapshots, (*files, *memory), (*notes, *map(str, kept)), kept)


def _kept(vm: str, forest: Forest, every: list[Saved], names: Collection[str]) -> tuple[Leftover, ...]:
    """Return the overlays that no snapshot that stays names, and that stay all the same."""
    return tuple(one for one in leftovers(vm, forest, every) if one.snapshot is None or one.snapshot in names)


def _written(step: Step) -> tuple[str, ...]:
    return (step.top, step.base) if isinstance(step, Merge) else ()


def noted(record: Record, going: list[Saved], every: list[Saved]) -> Record:
    """Return the record with the layers of snapshots that go; ``every`` are all that there are.

    Their overlays may be deleted from now on, and their states merged into; no other image ever is.
    """
    overlays = {os.path.realpath(overlay) for one in going for overlay in one.overlays}
    below = {os.path.realpath(part.state) for one in every for part in one.disks}
    below.update(map(os.path.realpath, record.former))
    overlays |= {os.path.realpath(part.state) for one in going for part in one.disks if _is_since(part, below)}
    former = {noted_as(part.state) for one in going for part in one.disks if part.overlay}
    return replace(
        record,
        overlays=tuple(sorted({*record.overlays, *overlays})),
        former=tuple(sorted({*record.former, *former})),
    )


def _is_since(part: SavedDisk, states: Collection[str]) -> bool:
    """Whether a state lies directly on another one, also of a snapshot that is gone: then it began as an overlay.

    Libvirt's own revert makes such, and no snapshot names one any more that another overlay has taken the place of.
    """
    try:
        backing = read_image(part.state, part.format).backing_file
    except UNREADABLE:
        return False
    return backing is not None and os.path.realpath(backing) in states


def _notes(forest: Forest, going: list[Saved]) -> tuple[str, ...]:
    notes = []
    for one in going:
        for disk in one.elsewhere:
            state = f"the state of its disk {disk.target} is of type '{disk.type}'"
            notes.append(f"the overlay of {disk.target} stays, because {state}, which is never merged into")
        for part in one.disks:
            state = os.path.realpath(part.state)
            why = forest.why.get(state, "it holds snapshots inside")
            if part.overlay and state in forest.layers.fixed and state not in forest.detached:
                notes.append(f"{part.state} stays a layer of its own, because {why}")
    return tuple(notes)


def _refuse_open(handle: DomainHandle, found: list[Step]) -> None:
    """Raise ``file_in_use`` where a process or a mount beside the VM has a layer that is about to be merged."""
    running = handle.active()
    own = qemu_pid(handle.name) if running else None
    files = {file for step in found for file in _written(step)}
    for file, pid in locked(files, but=own).items() if own or not running else ():
        raise in_use(handle.name, file, f"process {pid} has it open", f"Look what it is: ps -fp {pid}.")
    for file in sorted(files):
        point = mounted_from(file, handle.around().files.mounts)
        if point:
            raise in_use(
                handle.name, file, f"it is mounted on this host at {point}", f"Unmount it first: umount {point}."
            )


class Removal:
    """The removal of one snapshot of a domain; a later run may go on with it."""

    def __init__(self, handle: DomainHandle, pace: Pace) -> None:
        self._handle = handle
        self._pace = pace
        self._begun = False

    def run(self, snapshot: Snapshot) -> None:
        """Remove it. Raises as `Hypervisor.remove` says."""
        handle = self._handle
        every = handle.saved()
        going = [one for one in every if one.name == snapshot.name]
        before = handle.keep_record()
        record = looked_at(handle.record(), every)
        files = tuple(one.memory_file for one in going if one.memory_file)
        if going and going[0].kind == "internal":
            self._remove_internal(snapshot.name)
            inside = {os.path.realpath(part.state) for part in going[0].disks}
            record = replace(record, images=being_written(record.images, inside))
        journal = Journal("remove", snapshot.name, snapshot.created_at, now(), files)
        handle.write(replace(noted(record, going, every), journal=journal), durable=True)
        try:
            self._settle(journal)
        except KvmError as error:
            # Of a call that libvirt did not live to answer nobody knows whether it began.
            if not self._begun and error.error_code != "connection_lost":
                handle.put_back_record(before)
            raise

    def resume(self, journal: Journal) -> None:
        """Go on where an interrupted run ended."""
        handle = self._handle
        for target in list(handle.survey().tops):
            if handle.active():
                abort_commit(handle, target)
        if journal.merging:
            see_merged(handle, handle.survey(without=(journal.snapshot,)), *map(os.path.realpath, journal.merging))
        if not handle.active():
            refuse_writers(handle.name, handle.xml())
        self._settle(journal)

    def _settle(self, journal: Journal) -> None:
        handle = self._handle
        forest = handle.survey(without=(journal.snapshot,))
        settle(handle, forest, True, self._pace, lambda: self._forget(journal.snapshot))
        self._forget(journal.snapshot)
        handle.agree(forest, {})
        handle.unlink(file for file in journal.files if not self._is_named(file))
        check_chains(handle)
        close_record(handle)

    def _forget(self, name: str) -> None:
        self._begun = True
        with translated(self._handle.name, "removing what libvirt keeps of the snapshot"):
            forget(self._handle.native, name)

    def _is_named(self, file: str) -> bool:
        return any(one.memory_file == file for one in self._handle.saved())

    def _remove_internal(self, name: str) -> None:
        handle = self._handle
        handle.agree(handle.survey(), {})  # before 11.3's delete is asked, one must be current
        with translated(handle.name, "removing the snapshot inside its images"):
            if any(one.getName() == name for one in handle.native.listAllSnapshots(0)):
                handle.native.snapshotLookupByName(name, 0).delete(0)


def close_record(handle: DomainHandle) -> None:
    """End the operation under way, and forget of layers and snapshots what is of no use any more."""
    forest, record = handle.survey(), handle.record()
    known = forest.layers.backing
    saved = handle.saved()
    keys = {snapshot_key(one.name, one.created_at) for one in saved}
    kept = replace(
        looked_at(record, saved),
        snapshots={key: note for key, note in record.snapshots.items() if key in keys},
        overlays=tuple(file for file in record.overlays if known.get(file) is not None),
        made={file: made for file, made in record.made.items() if os.path.lexists(file)},
        kept=tuple(filter(os.path.lexists, record.kept)),
        former=tuple(
            file
            for file in record.former
            if (real := os.path.realpath(file)) in known and real not in forest.layers.states | forest.layers.present
        ),
        journal=None,
    )
    handle.write(kept)
