# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Noting what a VM's frozen images are like: right after a take, and again with each change of its snapshots."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.image_header import read_image
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.judge_frozen_images import (
    Frozen,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.any_format_backing import (
    UNREADABLE,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.file_identity import identity
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.real_paths import real_path
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.saved_snapshot import Saved
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.vm_record import (
    Made,
    Record,
    snapshot_key,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.devices import Disk
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.image_changes import (
    UNPROVEN,
    Fingerprint,
    Past,
    together,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import VirtualMachine

_SOON_SECONDS = 10

States = Mapping[str, Collection[str]]  # the real paths of the states of snapshots, by `snapshot_key`


def foreseen(images: Iterable[str], directory: Optional[str]) -> Past:
    """Return the past of a snapshot of images, right after it is taken; a memory file would go to ``directory``."""
    frozen = Frozen(Record(), ())
    reasons = [(file, frozen.unprovable(file)) for file in map(real_path, images)]
    if directory:
        reasons.append((directory, frozen.untrue_times(real_path(directory))))
    return together((file, Past(UNPROVEN, (reason,))) for file, reason in reasons if reason)


def is_soon(one: Saved) -> bool:
    """Whether nobody wrote to what a snapshot is made of later than a few seconds after it was taken."""
    taken = datetime.fromisoformat(one.created_at).timestamp()
    with suppress(OSError):
        files = (file for file, _form in Frozen(Record(), ()).files(one))
        return all(os.stat(file).st_mtime < taken + _SOON_SECONDS for file in files)
    return False


def with_taken(record: Record, one: Saved, states: States) -> Record:
    """Return a record with notes of all that a snapshot that was just taken is made of, which has the next number.

    ``states`` are those of all snapshots that there are now.
    """
    serial = record.serial + 1
    frozen = Frozen(record, states, states[snapshot_key(one.name, one.created_at)])
    files = dict(frozen.files(one))
    notes = {file: frozen.noted(file, form, serial) for file, form in files.items()}
    kept = {file: note for file, note in record.images.items() if file not in files}
    return replace(record, images={**kept, **_with_states(notes, states)}, serial=serial)


def made_of(overlays: Mapping[str, str]) -> dict[str, Made]:
    """Return what is noted of overlays that were just made, given by target."""
    return {real_path(file): Made(target, identity(file), _base(file)) for target, file in overlays.items()}


def _base(overlay: str) -> Optional[str]:
    with suppress(*UNREADABLE):  # QEMU makes it a moment later
        below = read_image(overlay, "qcow2").below
        return real_path(below) if below else None
    return None


def with_left(record: Record, disks: Iterable[Disk]) -> tuple[str, ...]:
    """Return the overlays to be kept, with those that disks have left since this collection last changed the VM."""
    now_on = {real_path(str(disk.source)) for disk in disks}
    return tuple(sorted({*record.kept, *record.active.values()} - now_on))


def looked_at(record: Record, snapshots: Collection[Saved]) -> Record:
    """Return a record with notes of what is frozen for these snapshots, all that a VM has, and of nothing else.

    What others wrote to is known from then on, what this collection did is noted anew. Nothing is noted for the first time.
    """
    if not record.images:
        return record
    states = states_of(snapshots)
    frozen = Frozen(record, states)
    notes: dict[str, Optional[Fingerprint]] = {}
    for file, form in {file: form for one in snapshots for file, form in frozen.files(one)}.items():
        if not os.path.exists(file):
            notes[file] = record.images.get(file)
        elif frozen.note(file):
            notes[file] = frozen.noted(file, form, record.serial + 1)
    return replace(record, images=_with_states(notes, states))


def _with_states(notes: Mapping[str, Optional[Fingerprint]], states: States) -> dict[str, Fingerprint]:
    return {
        file: replace(note, states=tuple(sorted(key for key, files in states.items() if file in files)))
        for file, note in notes.items()
        if note is not None
    }


def states_of(snapshots: Iterable[Saved]) -> dict[str, set[str]]:
    """Return the real paths of the states of snapshots, by `snapshot_key`."""
    return {snapshot_key(one.name, one.created_at): {real_path(part.frozen) for part in one.disks} for one in snapshots}


def states_before(vm: VirtualMachine) -> dict[str, set[str]]:
    """Return the real paths of the states of the snapshots that a VM has, by `snapshot_key`, as its inspection tells them."""
    return {
        snapshot_key(one.name, one.created_at): {real_path(disk.base) for disk in one.disks if disk.base}
        for one in vm.snapshots
    }
