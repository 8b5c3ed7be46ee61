# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must hold of a VM before its snapshots are changed, and again when that is done."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.connection import translated
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.chain import (
    agrees,
    disagreement,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.image import (
    ENCRYPTED,
    Image,
    read_chain,
    walk_chain,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.survey import targets_of
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.host_files import UNREADABLE
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.identity import birth, is_same
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.open_files import (
    known_as,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.merge.qemu_monitor import written
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.saved import Saved, SavedDisk
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.refusals import (
    definition_changed,
    definition_older,
    frozen_image_written,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.vm import VmHandle
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.record import Record
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.devices import Disk, image_disks
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.refusals import chain_mismatch
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.taking.coverage import spoilt_by_overlays
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError


def check_chains(handle: VmHandle) -> None:
    """Compare what libvirt says of the chains that snapshots are of with what the files say. Raises ``chain_mismatch``."""
    record, xml = handle.record(), handle.xml()
    of_snapshots = targets_of(handle.saved(), record)
    for disk in image_disks(xml):
        if disk.target in of_snapshots:
            checked_chain(handle.name, disk, record.overlays)
    with translated(handle.name, "asking whether it runs"):
        check_written(handle.name, handle.native, xml)


def check_written(vm: str, native: Any, xml: Any) -> None:
    """Raise ``chain_mismatch`` where QEMU writes to other images than libvirt says. Raises `libvirtError` too."""
    files = written(vm, native)
    if files is None:
        return
    for disk in image_disks(xml):
        if not disk.readonly and known_as(str(disk.source)) not in files:
            raise chain_mismatch(vm, disk.target, f"libvirt says it is on {disk.source}, but QEMU does not write there")


def checked_chain(vm: str, disk: Disk, merged: Collection[str] = ()) -> list[Image]:
    """Return a disk's chain, active layer first, once libvirt and the files agree on it. Raises ``chain_mismatch``.

    ``merged`` are layers of ours that libvirt may still believe to be there, until the VM's next start (see `catch_up`).
    """
    try:
        images = read_chain(str(disk.source), disk.format)
    except (OSError, ValueError) as error:
        raise chain_mismatch(vm, disk.target, f"its backing chain cannot be read: {error}") from error
    for image in images:
        if image.backing_file is not None and not image.backing_format:
            reason = f"{image.file} does not name the format of its backing file, and a guess could destroy data"
            raise chain_mismatch(vm, disk.target, reason)
    if disk.backing is not None and not agrees(disk.backing, images, merged):
        raise chain_mismatch(vm, disk.target, disagreement(disk, images))
    return images


def check_frozen(handle: VmHandle, snapshots: Sequence[Saved]) -> None:
    """Raise what `frozen_written` finds first."""
    for error in frozen_written(handle, snapshots):
        raise error


def frozen_written(handle: VmHandle, snapshots: Sequence[Saved]) -> Iterator[KvmError]:
    """Yield ``definition_changed`` and ``frozen_image_written`` where an image that a snapshot has frozen may be written to, or
    where a disk is on an older overlay than the one that it was on last.
    """
    record = handle.record()
    frozen = {os.path.realpath(part.state): (one.name, part) for one in snapshots for part in one.disks if part.overlay}
    for target, image in handle.tops() if frozen or record.active else ():
        found = _frozen_below(os.path.realpath(image), frozen)
        last = record.active.get(target)
        if found:
            yield definition_changed(handle.name, target, image, *found)
        elif last and _is_left(record, last, image, snapshots):
            yield definition_older(handle.name, target, image, last)
    around = handle.around() if frozen else None
    for state, (name, _part) in frozen.items():
        for user in around.users.of(state, around.owner) if around else ():
            if user.writes:
                yield frozen_image_written(handle.name, state, name, user)


def _is_left(record: Record, last: str, image: str, snapshots: Iterable[Saved]) -> bool:
    """Whether a disk has left the overlay that it was ``last`` on for another branch of ours, and that one is still there.

    Whoever copies or commits the disk elsewhere takes its data along; another overlay of ours has older data.
    """
    if os.path.realpath(image) in {os.path.realpath(last), *record.kept}:  # what is kept is put back on purpose
        return False
    ours = {*record.overlays, *record.made, *(os.path.realpath(file) for one in snapshots for file in one.overlays)}
    made = record.made.get(last)
    if (
        made is None
        or not os.path.lexists(last)
        or not is_same(made.identity, last)
        or os.path.realpath(image) not in ours
    ):
        return False
    try:
        above, below = ([os.path.realpath(one.file) for one in walk_chain(top, "qcow2")] for top in (image, last))
        apart = os.path.realpath(last) not in above and os.path.realpath(image) not in below
        return apart and not set(above).isdisjoint(below) and not _is_younger(image, last)
    except UNREADABLE:
        return False  # told where chains are checked


def _is_younger(image: str, last: str) -> bool:
    """Whether an image was made after another one: no older definition names it."""
    made, before = birth(image), birth(last)
    return made is not None and before is not None and made > before


def _frozen_below(top: str, frozen: Mapping[str, tuple[str, SavedDisk]]) -> Optional[tuple[str, str]]:
    """Return the snapshot, and its overlay, whose state is the image or is based on it; None for an image above them all."""
    for name, part in frozen.values():
        try:
            chain = [os.path.realpath(image.file) for image in walk_chain(part.state, part.format)]
        except UNREADABLE:
            chain = [os.path.realpath(part.state)]
        if top in chain:
            return name, str(part.overlay)
    return None


def refuse_unresolved(vm: str, snapshots: Iterable[Saved]) -> None:
    """Raise ``volume_not_found`` where a snapshot's state is a volume of a pool that does not tell where that lies."""
    for one in snapshots:
        for disk in one.elsewhere:
            if disk.unresolved:
                raise KvmError(
                    "volume_not_found",
                    f"Disk {disk.target} of {vm} in snapshot {one.name!r} cannot be found: {disk.unresolved}.",
                    "Nothing was changed. Make the pool list that volume (virsh pool-start, virsh "
                    "pool-refresh), then run the task again.",
                    disk=disk.target,
                )


def refuse_spoiling(vm: str, images: Mapping[str, Image], snapshots: Iterable[Saved], files: Collection[str]) -> None:
    """Raise ``disk_not_covered`` where an image (by real path) is encrypted or a part of its file: it would be read, and
    written, as what it is not.
    """
    known = {disk.source: disk for one in snapshots for disk in one.domain_disks if disk.source}
    reasons = {os.path.realpath(str(source)): spoilt_by_overlays(disk) for source, disk in known.items()}
    for file in files:
        encrypted = file in images and images[file].peculiar == ENCRYPTED
        reason = reasons.get(file) or ("is encrypted" if encrypted else "")
        if reason:
            raise KvmError(
                "disk_not_covered",
                f"{file} of {vm} {reason}: this collection cannot revert to it or merge it.",
                "Nothing was changed. Copy the data out from inside the guest. Or back up the VM, and "
                f"merge the layer yourself while the VM runs: virsh blockcommit {vm} DISK --active "
                "--shallow --pivot --wait.",
                disk=None,
                file=file,
            )
