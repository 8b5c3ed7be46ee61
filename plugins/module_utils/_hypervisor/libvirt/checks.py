# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must hold of a VM before its snapshots are changed, and again when that is done."""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.connection import translated
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.library import libvirt
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
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.open_files import (
    known_as,
    writers,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.users import User
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.merge.qemu_monitor import written
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.saved import Saved, SavedDisk
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.vm import DomainHandle
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.coverage import spoilt_by_overlays
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml import Disk, disks, image_disks
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.files import check_domain
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.refusals import (
    block_job_active,
    chain_mismatch,
    managed_save,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import VirtualMachine

_NO_JOB = 0  # VIR_DOMAIN_JOB_NONE
# virDomainJobOperation
_OPERATIONS = {
    1: "start",
    2: "save",
    3: "restore",
    4: "migration to here",
    5: "migration",
    6: "snapshot",
    7: "revert",
    8: "dump",
    9: "backup",
    10: "removal of a snapshot",
}


def check_idle(handle: DomainHandle, vm: VirtualMachine) -> None:
    """Raise ``transient_domain``, ``bad_state``, ``block_job_active``, ``busy`` or ``managed_save``."""
    check_domain(vm)
    with translated(vm.name, "asking for what goes on with it"):
        refuse_jobs(vm, handle.native, handle.xml())


def refuse_jobs(vm: VirtualMachine, native: Any, xml: Any) -> None:
    """Raise ``block_job_active`` or ``busy`` for a VM that runs, ``managed_save`` or ``file_in_use`` for one that is off.

    Raises `libvirtError` too.
    """
    if vm.active:
        for disk in disks(xml):
            if disk.has_source:
                _refuse_block_job(vm.name, disk.target, native.blockJobInfo(disk.target, 0))
        refuse_domain_job(vm.name, native)
    elif native.hasManagedSaveImage(0):
        raise managed_save(vm.name)
    else:
        refuse_writers(vm.name, xml)


def refuse_domain_job(vm: str, native: Any) -> None:
    """Raise ``busy`` where a job of the whole VM runs: libvirt would wait for its end, 30 s, with the guest frozen.

    This query is answered during such a job (measured on 7.0, 9.0 and 11.3, in a tenth of a millisecond). Of a dump or a save
    whose reader is slow it says "completed" while the job still holds the VM; only none is none. Raises `libvirtError` too.
    """
    if native.jobInfo()[0] == _NO_JOB:
        return
    operation = _operation(native)
    raise KvmError(
        "busy",
        f"{vm} is busy: libvirt is at work on a {operation} of it.",
        f"Nothing was changed. Wait for its end, or abort it: virsh domjobinfo {vm}; virsh domjobabort {vm}.",
        job=operation,
    )


def _operation(native: Any) -> str:
    try:
        return _OPERATIONS.get(native.jobStats().get("operation"), "job")
    except libvirt.libvirtError:  # it has ended, or is none that keeps statistics
        return "job"


def refuse_writers(vm: str, xml: Any) -> None:
    """Raise ``file_in_use`` where a process writes to an image of a VM that is off.

    Libvirt 7.0 that is killed as a merge ends cannot read its own notes on the VM afterwards, and says that it is off
    while it runs on.
    """
    files = []
    for disk in image_disks(xml):
        if not (disk.readonly or disk.shareable):
            with suppress(*UNREADABLE):  # told where chains are checked
                files += [image.file for image in walk_chain(str(disk.source), disk.format)]
    for file, pid in writers(files).items():
        raise KvmError(
            "file_in_use",
            f"{vm} is off by libvirt's word, but process {pid} writes to {file}.",
            f"Nothing was changed. Look what it is: ps -fp {pid}. If it is the VM's own QEMU, libvirt has lost it: do not "
            "start it, shut the guest down from inside or end that process, and run the task again.",
            file=file,
            pid=pid,
        )


def _refuse_block_job(vm: str, target: str, job: Any) -> None:
    if job:
        raise block_job_active(vm, target, job.get("cur"), job.get("end"))


def check_chains(handle: DomainHandle) -> None:
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
            raise chain_mismatch(vm, disk.target, f"libvirt says it is on {disk.source}, and QEMU does not write there")


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
            reason = f"{image.file} does not name the format of its backing file, and guessing is unsafe"
            raise chain_mismatch(vm, disk.target, reason)
    if disk.backing is not None and not agrees(disk.backing, images, merged):
        raise chain_mismatch(vm, disk.target, disagreement(disk, images))
    return images


def check_frozen(handle: DomainHandle, snapshots: Sequence[Saved]) -> None:
    """Raise what `frozen_written` finds first."""
    for error in frozen_written(handle, snapshots):
        raise error


def frozen_written(handle: DomainHandle, snapshots: Sequence[Saved]) -> Iterator[KvmError]:
    """Yield ``definition_changed`` and ``frozen_image_written`` where an image that a snapshot has frozen may be written to."""
    frozen = {os.path.realpath(part.state): (one.name, part) for one in snapshots for part in one.disks if part.overlay}
    for target, image in handle.tops() if frozen else ():
        found = _frozen_below(os.path.realpath(image), frozen)
        if found:
            yield definition_changed(handle.name, target, image, *found)
    around = handle.around() if frozen else None
    for state, (name, _part) in frozen.items():
        for user in around.users.of(state, around.owner) if around else ():
            if user.writes:
                yield frozen_image_written(handle.name, state, name, user)


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
                    "Nothing was changed. Bring the pool to where it tells its volumes, then run the task again.",
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
                "Nothing was changed. Copy the data out from inside the guest, or merge it yourself, with a backup at hand, "
                f"while the VM runs: virsh blockcommit {vm} DISK --active --pivot --wait.",
                disk=None,
                file=file,
            )


def is_below(snapshot: Saved, xml: Any) -> bool:
    """Whether the VM whose XML this is builds upon a snapshot's state, going by the files of its disks."""
    now_on = {disk.target: disk for disk in disks(xml)}
    for part in snapshot.disks:
        disk, state = now_on.get(part.target), os.path.realpath(part.state)
        if disk is None or disk.source is None:
            continue
        chain = (os.path.realpath(image.file) for image in walk_chain(disk.source, disk.format))
        try:
            if state not in chain:
                return False
        except UNREADABLE:
            return True  # that trouble is told elsewhere, and libvirt's word is all there is
    return True


def definition_changed(vm: str, target: str, image: str, snapshot: str, overlay: str) -> KvmError:
    """Return the error of a VM that is defined on an image older than its snapshots: two images may have its newest data."""
    return KvmError(
        "definition_changed",
        f"Disk {target} of {vm} is defined on {image}, which snapshot {snapshot!r} has frozen; what was written after that "
        f"snapshot is in {overlay}. Somebody put back an older definition, or merged the overlay by other means.",
        f"Nothing was changed. Do not start {vm} before you know which of the two it needs: a write to the older one spoils "
        f"the newer. Either put the disk back on {overlay} (virsh edit {vm}), or "
        f"have libvirt forget the snapshot (virsh snapshot-delete {vm} {shlex.quote(snapshot)} --metadata), which keeps every "
        "file.",
        disk=target,
        image=image,
        snapshot=snapshot,
        overlay=overlay,
    )


def frozen_image_written(vm: str, image: str, snapshot: str, user: User) -> KvmError:
    """Return the error of an image that holds a snapshot's state and that another VM is defined to write to."""
    return KvmError(
        "frozen_image_written",
        f"{image} holds the state of snapshot {snapshot!r} of {vm}, and {user} is defined to write to it.",
        f"Nothing was changed. Give {user} a copy or an overlay of its own, or take that disk away from it, and run the task "
        "again.",
        image=image,
        snapshot=snapshot,
        user=str(user),
    )


def in_use(vm: str, file: str, why: str, remedy: str) -> KvmError:
    """Return the error of a layer that somebody beside the VM has in use."""
    message = f"A layer of {vm} cannot be merged now: {file} is in use, {why}."
    return KvmError("file_in_use", message, f"Nothing was changed. {remedy} Then run the task again.", file=file)
