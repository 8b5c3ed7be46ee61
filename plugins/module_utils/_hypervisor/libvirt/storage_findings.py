# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What others on the host have to do with a VM's storage: its neighbours, disks it once had, definitions it once had."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.chain_checks import frozen_written
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.libvirt_errors import (
    translated,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.qcow2_metadata import (
    snapshot_names,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.unused_overlays import leftovers
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.any_format_backing import (
    UNREADABLE,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.real_paths import real_path
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.definition_chains import (
    gone_layers,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.saved_snapshot import Saved
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.running_jobs import has_vm_job
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.vm_handle import VmHandle
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.vm_record import Record
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.storage import Storage


def with_neighbours(handle: VmHandle, found: Storage) -> Storage:
    """Add to a VM's storage what is known of it beyond its own chains."""
    with handle.seen_once():
        every = handle.saved()
        errors = list(frozen_written(handle, every))
        with suppress(KvmError):  # a chain that cannot be read is told of already
            found = replace(
                found, leftovers=tuple(leftovers(handle.name, handle.survey(record=set_aside(handle, every)), every))
            )
        gone = [
            f"its definition names {file}, which is gone, so {handle.name} would not start: take that <backingStore> element "
            f"out (virsh edit {handle.name}); removing any snapshot of it does so too"
            for file in gone_layers(handle.definition())
        ]
        lost = list(_lost(handle, every))
    if errors or lost:  # half of what a run, or virsh, was just doing is no trouble: looked at once more, anew
        errors, lost = [], []
        if not handle.records.held(handle.id, by_others=True):
            every = handle.saved()
            errors, lost = list(frozen_written(handle, every)), list(_lost(handle, every))
    in_doubt = tuple(one.details["disk"] for one in errors if one.error_code == "definition_changed")
    if in_doubt:  # any overlay may be the newest image then
        copies = {copy.file for note in handle.record().snapshots.values() for copy in note.copies.values()}
        found = replace(found, orphans=tuple(file for file in found.orphans if file in copies))
    return replace(
        found,
        problems=(*found.problems, *(error.message for error in errors), *gone, *lost),
        definition_changed=in_doubt,
    )


def set_aside(handle: VmHandle, every: Iterable[Saved]) -> Record:
    """Return a VM's record with the overlays kept that others made it leave, and no longer with one that it is on again.

    What a VM was on last is noted from the first removal or revert on. Before that, of an overlay that another tool made it is
    enough that nothing needs it.
    """
    record = handle.record()
    foreign = {real_path(file) for one in every for file in one.overlays}.difference(record.made, record.overlays)
    left = foreign.union(record.kept, record.active.values())
    left.difference_update(real_path(top) for _target, top in handle.tops())
    aside = left.intersection(handle.survey(record=record).unneeded()) if left else ()
    return replace(record, kept=tuple(sorted(aside)))


def _lost(handle: VmHandle, every: Iterable[Saved]) -> Iterator[str]:
    """Yield what is to be said of snapshots that are not inside their images any more.

    Libvirt lists one before QEMU has written it, which takes as long as its memory is large: nobody knows during such a job.
    """
    lost = [(one.name, file) for one in every for file in lost_inside(one)]
    if lost and handle.active():
        with translated(handle.name, "asking for its jobs"):
            lost = [] if has_vm_job(handle.native) else lost
    for name, file in lost:
        yield (
            f"snapshot {name!r} is not inside {file} any more, and a revert to it is refused. Bring the image back from a "
            f"backup, or have libvirt forget the snapshot: virsh snapshot-delete {handle.name} {shlex.quote(name)} --metadata"
        )


def lost_inside(snapshot: Saved) -> Iterator[str]:
    """Yield the images that a snapshot was kept inside and is not any more: restored, converted, deleted from by hand.

    Of one that cannot be read nothing is said here.
    """
    for part in snapshot.disks if snapshot.kind == "internal" else ():
        with suppress(*UNREADABLE), open(part.frozen, "rb") as stream:
            if snapshot.name not in snapshot_names(stream):
                yield part.frozen
