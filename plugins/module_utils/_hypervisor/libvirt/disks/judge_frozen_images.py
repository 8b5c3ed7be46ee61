# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The images of a VM that hold its snapshots' disks, and their memory files, held against what is noted of them.

QEMU writes the last to an image as it switches to the overlay: it opens it for reading only then, and puts down bitmaps,
lazy refcounts and caches first. After libvirt has answered nothing is written there, neither as the VM is suspended, saved,
stopped, killed or started again, nor by chown, with any cache mode, discard or copy-on-read (tried on libvirt 7.0 with QEMU
5.2, 9.0 with 7.2 and 11.3 with 10.0). Only `virsh checkpoint-delete` is another writer (see `mapping`), since 9.0 at the
latest; 7.0 has no checkpoints. A snapshot that others changed may be removed: a merge leaves what is read through the upper
layer as it is, and what was found out about the lower one is true of the merged one.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.image_header import read_image
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.qcow2_metadata import (
    read_inside,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.firmware.state_file import past_of
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.any_format_backing import (
    UNREADABLE,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.file_identity import birth
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.mounts import current_mounts
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.real_paths import real_path
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.saved_snapshot import Saved
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.vm_record import Record, snapshot_key
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.image_changes import (
    CHANGED,
    UNCHANGED,
    UNPROVEN,
    Fingerprint,
    Identity,
    Past,
    difference,
    earlier,
    inside,
    not_noted,
    noted_anew,
    same,
    together,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.layer_steps import MOST_LAYERS

# File systems of this host alone that keep the time of every write, to the ns.
_TRUE_TIMES = ("ext4", "xfs", "btrfs", "zfs", "f2fs", "bcachefs", "tmpfs", "overlay")
_MEMORY = "memory"  # in place of an image's format


class Frozen:
    """What is noted of a VM's frozen images, held against what they are; each is looked at once.

    ``listed`` are the keys of all its snapshots, ``active`` the real paths of the images that its disks are on.
    """

    def __init__(self, record: Record, listed: Collection[str], active: Collection[str] = ()) -> None:
        self._record = record
        self._gone = {key for note in record.images.values() for key in note.states}.difference(listed)
        self._active = active
        self._links: dict[tuple[str, str], tuple[str, Optional[tuple[str, str]]]] = {}
        self._facts: dict[str, tuple[Optional[Fingerprint], Past]] = {}
        self._looked: dict[str, Past] = {}

    def past(self, one: Saved) -> Past:
        """Return what is known of a snapshot's past."""
        if one.kind == "internal":
            return together((part.frozen, inside()) for part in one.disks)
        key = snapshot_key(one.name, one.created_at)
        note = self._record.snapshots.get(key)
        serial = note.serial if note else 0
        left = leads_elsewhere(self._record, one)
        if left:
            return Past(CHANGED, tuple(f"the path of its image {file} leads to another file now" for file in left))
        pasts = [(file, self._file(file, form, serial, one.created_at)) for file, form in self.files(one)]
        copies = note.copies if note else {}
        pasts += [(copy.file, past_of(part, copy)) for part, copy in copies.items()]
        return together(pasts)

    def files(self, one: Saved) -> Iterator[tuple[str, str]]:
        """Yield the real path and the format of all that a snapshot's content is in, every layer of it."""
        if one.memory_file:
            yield real_path(one.memory_file), _MEMORY
        for part in one.disks:
            if part.overlay:
                yield from self._layers(part.frozen, part.format)

    def unprovable(self, file: str) -> str:
        """Return why nothing can be proven of a file; "" where it can."""
        try:
            status = os.stat(file)
        except OSError as error:
            return f"cannot be read: {error.strerror}"
        if not stat.S_ISREG(status.st_mode):
            return "is a block device, which keeps no time of its last write"
        return self.untrue_times(file)

    def untrue_times(self, path: str) -> str:
        """Return why times of last writes prove nothing on the file system of a path; "" where they do."""
        mount = current_mounts().of(path)
        if mount.kind in _TRUE_TIMES:
            return ""
        what = "that other hosts may write to" if mount.shared else "of which no exact times are known"
        return f"is on a file system ({mount.kind or 'unknown'}) {what}"

    def noted(self, file: str, form: str, serial: int) -> Optional[Fingerprint]:
        """Return the note of an image that is frozen from the snapshot of a number on; None where nothing can be proven.

        What is new is on the disk first: a power cut must not bring back an older time of its last write.
        """
        if self.unprovable(file):
            return None
        note = self.note(file)
        try:
            if note and not note.writing and self._look(file, form, note).past == UNCHANGED:
                return note
            found = identity(file, form, synced=True)
        except UNREADABLE:
            return None
        if note and note.writing:
            return replace(note, identity=found, writing=False)
        return noted_anew(note, found, serial, self._looked.get(file, Past()))

    def note(self, file: str) -> Optional[Fingerprint]:
        """Return the note of a file, also of one that was moved or copied to another place."""
        notes = self._record.images
        if file in notes or not notes:
            return notes.get(file)
        status = os.stat(file)
        # The file itself first: somebody may have copied it, with its time, after it was written to, and that copy was noted.
        copies = (note for note in notes.values() if _is_copy(note.identity, status))
        return next(_moved(notes, file, status), None) or next(copies, None)

    def _file(self, file: str, form: str, serial: int, created_at: str) -> Past:
        if file not in self._facts:
            self._facts[file] = self._fact(file, form)
        note, now = self._facts[file]
        if now.past == UNCHANGED and note:
            return earlier(note, serial, created_at)
        if now.past == UNCHANGED or (now.past == CHANGED and not serial and identity(file, _MEMORY).date <= created_at):
            return not_noted(serial)
        return now

    def _fact(self, file: str, form: str) -> tuple[Optional[Fingerprint], Past]:
        """Return the note of a file, and what is other than noted."""
        reason = self.unprovable(file)
        if reason:
            return None, Past(UNPROVEN, (reason,))
        try:
            note = self.note(file)
            return note, self._look(file, form, note) if note and not note.writing else Past()
        except UNREADABLE as error:
            return None, Past(UNPROVEN, (f"cannot be read: {error}",))

    def _look(self, file: str, form: str, note: Fingerprint) -> Past:
        if file not in self._looked:
            found = identity(file, _MEMORY)
            if same(note.identity, found):
                self._looked[file] = Past()
            else:
                with suppress(*UNREADABLE):  # what is no image any more was changed
                    found = identity(file, form, mapped=note.identity.mapping is not None)
                self._looked[file] = difference(note, found, self._gone, file in self._active)
        return self._looked[file]

    def _layers(self, file: str, form: str) -> Iterator[tuple[str, str]]:
        following = (file, form)
        for _depth in range(MOST_LAYERS):
            if following not in self._links:
                self._links[following] = _link(*following)
            real, below = self._links[following]
            yield real, following[1]
            if below is None:
                return
            following = below


def leads_elsewhere(record: Record, one: Saved) -> list[str]:
    """Return the images that hold a snapshot and are where they were, where its names lead to others now, unknown ones.

    As after a link was given another target. A copy is known by its time.
    """
    key = snapshot_key(one.name, one.created_at)
    now = {real_path(part.frozen) for part in one.disks}
    if all(part.frozen in now for part in one.disks):
        return []  # no name is, or goes through, a link
    held = [file for file, note in record.images.items() if key in note.states and file not in now]
    if not held or all(Frozen(record, ()).note(file) for file in now if os.path.exists(file)):
        return []
    return sorted(file for file in held if real_path(file) == file and os.path.exists(file))


def _link(file: str, form: str) -> tuple[str, Optional[tuple[str, str]]]:
    """Return the real path of an image, and what it is backed by; what cannot be read is said of the file itself."""
    real = real_path(file)
    with suppress(*UNREADABLE):
        image = read_image(file, form)
        if image.backing_file is not None:
            return real, (image.backing_file, image.backing_format or "raw")
    return real, None


def identity(file: str, form: str, *, synced: bool = False, mapped: bool = False) -> Identity:
    """Read what an image is known by; of its content only with a format. Raises one of `UNREADABLE`."""
    with open(file, "rb") as stream:
        if synced:
            os.fsync(stream.fileno())
        status = os.fstat(stream.fileno())
        known = Identity(status.st_size, status.st_mtime_ns, status.st_ino, status.st_dev)
        if form != "qcow2":
            return known
        inside = read_inside(stream, mapped)
    backing = read_image(file, form).backing_file
    return replace(
        known,
        backing=real_path(backing) if backing else None,
        bitmaps=inside.bitmaps,
        snapshots=inside.snapshots,
        mapping=inside.mapping,
    )


def _moved(notes: Mapping[str, Fingerprint], path: str, status: os.stat_result) -> Iterator[Fingerprint]:
    """Yield the notes of files that are gone and whose inode this is: it was moved, and may have been written to since.

    A new file may have the inode of a deleted one, and is born after that was noted.
    """
    born = birth(path)
    if born is None:
        return
    for file, note in notes.items():
        known = note.identity
        there = real_path(file) == file and os.path.exists(file)
        if (known.inode, known.device) == (status.st_ino, status.st_dev) and not there and born <= known.mtime_ns:
            yield note


def _is_copy(noted: Identity, status: os.stat_result) -> bool:
    # Only a time to the ns tells one image from all others.
    exact = (noted.size, noted.mtime_ns) == (status.st_size, status.st_mtime_ns)
    return exact and bool(noted.mtime_ns % 10**9)
