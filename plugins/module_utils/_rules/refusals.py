# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What more than one backend refuses, in the same words and with the same details."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from typing import Any

from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import Snapshot


def snapshot_changed(vm: str, snapshot: Snapshot) -> KvmError:
    """Return the error of a revert to what others have written to since."""
    return KvmError(
        "snapshot_changed",
        f"Snapshot {snapshot.name!r} of {vm} is not as it was taken: {'; '.join(snapshot.past_reasons)}.",
        "Nothing was changed, and the VM was not stopped. Bring the file back from a backup with its "
        "time (cp -p, rsync -a), choose another snapshot, or revert to what it holds now: "
        "accept_changed: true.",
        snapshot=snapshot.name,
        reasons=list(snapshot.past_reasons),
    )


def record_newer(vm: str, theirs: str, ours: str) -> KvmError:
    """Return the error of a record that a later release wrote, of which this one would lose something."""
    return KvmError(
        "record_newer",
        f"Version {theirs} of this collection wrote the record of {vm} on the host, and this is version {ours}.",
        "Nothing was changed. Update limiquantix.kvm where Ansible runs (on the controller) to that "
        "version or a newer one.",
        written_by=theirs,
        version=ours,
    )


def vm_gone(vm: str, reason: str = "", **native: Any) -> KvmError:
    """Return the error of a VM that went away after the task had found it; ``native`` is what its host says of that."""
    return KvmError(
        "vm_not_found",
        f"{vm} is not on this host any more{f': {reason}' if reason else ''}.",
        "Correct vms if it was renamed or moved, and run the task again: it looks at what is there first.",
        pattern=vm,
        names=[vm],
        **native,
    )


def removed_meanwhile(vm: str, snapshot: str) -> KvmError:
    """Return the error of a snapshot that was there when the task looked first."""
    return KvmError(
        "busy",
        f"Snapshot {snapshot!r} of {vm} was removed or replaced by somebody else meanwhile.",
        "Run the task again: it looks at what is there first.",
    )


def block_job_active(vm: str, target: str, done: int, whole: int, backup: bool = False) -> KvmError:
    """Return the error of a disk with a job, ``done`` bytes of the ``whole``; a ``backup`` without a client waits for ever."""
    # Both numbers are also the same before it has begun.
    ready = " A merge or copy that is ready waits: end it with --pivot, or with --abort." if 0 < whole <= done else ""
    wait = f"Wait for it: virsh blockjob {vm} {target}.{ready}"
    if backup:
        wait = f"Wait for the backup's end, or, where its client is gone, end it: virsh domjobabort {vm}."
    return KvmError(
        "block_job_active",
        f"A block job (merge, copy or backup) runs on disk {target} of {vm}.",
        f"Nothing was changed. {wait}",
        disk=target,
        progress=[done, whole],
    )


def managed_save(vm: str) -> KvmError:
    """Return the error of a VM whose next start loads memory that belongs to other disks."""
    return KvmError(
        "managed_save",
        f"{vm} has a managed save: at its next start it would go on from saved memory that belongs to "
        "other disks, and destroy data.",
        f"Nothing was changed. Start the VM first, or delete the saved memory: virsh managedsave-remove {vm}.",
    )


def agent_unavailable(vm: str, reason: str, **native: Any) -> KvmError:
    """Return the error of a guest that must be frozen and has nobody in it who would do it."""
    return KvmError(
        "agent_unavailable",
        f"{vm} cannot be quiesced: {reason}.",
        "Nothing was changed. Start qemu-guest-agent in the guest (the VM needs its channel), or use "
        "quiesce: auto for a crash-consistent snapshot.",
        **native,
    )


def chain_mismatch(vm: str, target: str, difference: str, way_out: str = "") -> KvmError:
    """Return the error of a disk of which the hypervisor and the files say different things."""
    look = "Look at the files (qemu-img info -U --backing-chain FILE), and with vm_snapshot_info. Where the definition has a "
    look += f"wrong <backingStore>, take that element out (virsh edit {vm})."
    message = f"Disk {target} of {vm} is not as it should be: {difference}."
    return KvmError("chain_mismatch", message, f"Nothing was changed. {way_out or look}", disk=target)


def mixed_chain(vm: str, reason: str) -> KvmError:
    """Return the error of snapshots inside images and overlays that are in each other's way."""
    return KvmError(
        "mixed_chain",
        f"{vm} has snapshots inside its images and in overlays: {reason}.",
        "Nothing was changed. libvirt has destroyed data with such a mix. Back up the VM, then remove "
        "one kind with virsh, newest first.",
    )


def file_missing(vm: str, snapshot: str, reason: str, files: Sequence[str]) -> KvmError:
    """Return the error of a snapshot of which something is gone that the task needs."""
    return KvmError(
        "file_missing",
        f"Snapshot {snapshot!r} of {vm} cannot be used: {reason}.",
        "Nothing was changed, and the VM was not stopped. Bring the file back from a backup, or choose another snapshot.",
        files=list(files),
    )


def disks_changed(vm: str, snapshot: str, removed: Sequence[str], added: Sequence[str]) -> KvmError:
    """Return the error of a VM that has other disks than it had, by their targets."""
    changes = [f"{target} was removed" for target in removed] + [f"{target} was added" for target in added]
    remedy = "Attach or detach disks until the VM has the same disks as then."
    return other_disks(vm, snapshot, "; ".join(changes), remedy, removed=removed, added=added)


def disk_replaced(vm: str, snapshot: str, target: str, roots: tuple[str, str], state: tuple[str, str]) -> KvmError:
    """Return the error of a disk that was moved or exchanged: the image that it is on now is kept by the way back.

    ``roots`` are the lowest images of what it is now and was then, ``state`` is the image of the snapshot and its format.
    """
    file, image_format = state
    new = f"{os.path.splitext(file)[0]}.again.qcow2"
    command = shlex.join(["qemu-img", "create", "-f", "qcow2", "-F", image_format, "-b", file, new])
    change = f"{target} is another disk now: its lowest image is {roots[0]}, and was {roots[1]}"
    remedy = (
        f"To go back to what {file} holds all the same, create a new overlay on it ({command}), and make "
        f"it disk {target} of {vm} (virsh edit {vm}). The image that it has now stays as it is."
    )
    return other_disks(vm, snapshot, change, remedy, replaced=[target])


def other_disks(
    vm: str,
    snapshot: str,
    change: str,
    remedy: str,
    *,
    removed: Sequence[str] = (),
    added: Sequence[str] = (),
    replaced: Sequence[str] = (),
) -> KvmError:
    """Return the error of a VM whose disks are not those of a snapshot; by their targets."""
    return KvmError(
        "disks_changed",
        f"{vm} does not have the same disks as at snapshot {snapshot!r}: {change}.",
        f"Nothing was changed, and the VM was not stopped. {remedy}",
        removed=list(removed),
        added=list(added),
        replaced=list(replaced),
    )


def overlay_dir_unusable(directory: str, reason: str) -> KvmError:
    """Return the error of a directory that takes no overlays."""
    return KvmError(
        "overlay_dir_unusable",
        f"Overlays cannot be made in {directory}: {reason}.",
        "No VM was touched. Give another directory: overlay_dir.",
        directory=directory,
    )


def overlay_failed(overlay: str, reason: str | None) -> KvmError:
    """Return the error of an overlay that could not be made."""
    return KvmError("overlay_failed", f"Overlay {overlay} cannot be created: {reason}.", "The VM was not touched.")


def not_as_told(vm: str, snapshot: str, told: str, remedy: str) -> KvmError:
    """Return the error of a snapshot that was ``told`` to be taken or removed, and the list of snapshots says otherwise."""
    listed = "not listed" if told == "taken" else "still listed"
    return KvmError("verification_failed", f"Snapshot {snapshot!r} of {vm} was {told}, and is {listed}.", remedy)


def libvirt_error(vm: str, doing: str, code: int, text: str) -> KvmError:
    """Return the error of what libvirt failed at, by its own word."""
    return KvmError(
        "libvirt_error",
        f"libvirt failed for {vm}, while {doing}: {text}.",
        "See libvirt's log, and look at the VM with vm_snapshot_info before the next run.",
        libvirt_code=code,
        libvirt_message=text,
    )


def record_unusable(error: Exception, damaged: str = "") -> KvmError:
    """Return the error of records, or locks, that cannot be read or written, or of one that is ``damaged``."""
    if damaged:
        moved = shlex.join(["mv", damaged, f"{damaged}.damaged"])
        away = f"or move it away (the protection, labels and expiry of the VM's snapshots go with it): {moved}"
        remedy = f"Nothing was changed. Bring it back from a backup, {away}. Then run the task again."
        return KvmError("record_unusable", f"The record {damaged} is damaged: {error}.", remedy)
    remedy = "Nothing was changed. Run the task as root (become: true), and make room if that file system is full."
    return KvmError("record_unusable", f"The records of this collection on the host cannot be used: {error}.", remedy)
