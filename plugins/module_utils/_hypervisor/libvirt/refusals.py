# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What this backend alone refuses, in words; what several refuse is in `_rules/refusals.py`."""

from __future__ import annotations

import os
import shlex
from typing import Any

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.file_users import User
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.saved_snapshot import (
    SavedDisk,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.refusals import file_missing, other_disks
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError

_DISKS_ALONE = "To go back to the snapshot's disks without its memory, give power: shutoff. Then start the VM."


def definition_changed(
    vm: str, target: str, image: str, snapshot: str, overlay: str, *, is_there: bool = True
) -> KvmError:
    """Return the error of a VM that is defined on an image older than its snapshots: two images may have its newest data.

    ``is_there`` says whether the overlay with what was written after the snapshot still is.
    """
    forget = f"have libvirt forget the snapshot (virsh snapshot-delete {vm} {shlex.quote(snapshot)} --metadata)"
    if is_there:
        remedy = (
            f"Nothing was changed. Do not start {vm} before you know which of the two files it needs: a write to the older one "
            f"destroys the newer one. Either put the disk back on {overlay} (virsh edit {vm}). Or, where {image} is right, "
            f"{forget}, which keeps every file, and move {overlay} to another directory. Then run the task again."
        )
    else:
        remedy = (
            f"Nothing was changed. Where {image} is right, {forget}. Else bring {overlay} back from a backup before {vm} is "
            f"started, and put the disk on it (virsh edit {vm}). Then run the task again."
        )
    return KvmError(
        "definition_changed",
        f"Disk {target} of {vm} is defined on {image}, which snapshot {snapshot!r} has frozen. What the guest wrote after that "
        f"snapshot {'is' if is_there else 'was'} in {overlay}{'' if is_there else ', which is gone'}. Somebody put back an older "
        "definition, or merged the overlay by other means.",
        remedy,
        disk=target,
        image=image,
        snapshot=snapshot,
        overlay=overlay,
    )


def definition_older(vm: str, target: str, image: str, last: str) -> KvmError:
    """Return the error of a VM that is defined on an overlay of ours that is not the one it was on last."""
    return KvmError(
        "definition_changed",
        f"Disk {target} of {vm} is defined on {image}; when this collection last changed {vm}, the disk was on {last}, which is "
        "still there. Somebody put back an older definition, or merged the overlay by other means "
        "(virsh blockjob --pivot).",
        f"Nothing was changed. Do not start {vm} before you know which of the two it needs; after such a merge, it is {image}. "
        f"Either put the disk back on {last} (virsh edit {vm}) or, where {image} is right, move {last} to another directory. "
        "Then run the task again.",
        disk=target,
        image=image,
        snapshot=None,
        overlay=last,
    )


def frozen_image_written(vm: str, image: str, snapshot: str, user: User, holds: str = "holds") -> KvmError:
    """Return the error of an image that ``holds`` a snapshot's state and that another VM is defined to write to."""
    return KvmError(
        "frozen_image_written",
        f"{image} {holds} snapshot {snapshot!r} of {vm}, and {user} is defined to write to it.",
        f"Nothing was changed. Give {user} a copy or an overlay of its own, or take that disk away from "
        "it. Then run the task again.",
        image=image,
        snapshot=snapshot,
        user=str(user),
    )


def saved_in_file(vm: str, file: str) -> KvmError:
    """Return the error of a VM whose memory somebody has saved to a file, and whose disks still are as they were then."""
    return KvmError(
        "managed_save",
        f"The memory of {vm} is saved in {file} (virsh save). It goes with the disks as they are now: a restore after this task "
        "would destroy data.",
        f"Nothing was changed. Either let {vm} go on from it: virsh restore {shlex.quote(file)}. Or, where nobody needs that "
        "memory any more, delete the file or move it to another directory. Then run the task again.",
        file=file,
    )


def unreadable(vm: str, name: str, part: SavedDisk, error: Exception) -> KvmError:
    """Return the error of a snapshot whose image of a disk cannot be read."""
    return file_missing(vm, name, f"the state of disk {part.target} cannot be read: {error}", [part.frozen])


def started_meanwhile(vm: str) -> KvmError:
    """Return the error of a VM that was off when its revert was planned, and that somebody has started since."""
    return KvmError(
        "busy",
        f"Somebody started {vm} during the revert.",
        "The revert was undone, and the VM is as before. Run the task again.",
    )


def inside_another(vm: str, snapshot: str, image: str) -> KvmError:
    """Return the error of a snapshot inside an image that the running VM is not on: libvirt cannot remove it then."""
    return KvmError(
        "bad_state",
        f"Snapshot {snapshot!r} is inside {image}, and {vm} runs on another image: libvirt cannot remove it now.",
        f"Nothing was changed. Shut {vm} down (virsh shutdown {vm}), then run the task again.",
    )


def not_definable(vm: str, why: KvmError) -> KvmError:
    """Return the error of a VM whose definition libvirt had taken once and takes no more: it could not be put on other images."""
    return KvmError(
        "libvirt_error",
        f"libvirt does not accept the definition of {vm} any more: {why.details.get('libvirt_message')}.",
        "Nothing was changed, and the VM was not stopped. Bring back what it misses, or correct the definition "
        f"(virsh edit {vm}). Then run the task again.",
        libvirt_code=why.details.get("libvirt_code"),
        libvirt_message=why.details.get("libvirt_message"),
    )


def under_transient(vm: str, target: str) -> KvmError:
    """Return the error of layers under a transient disk: libvirt merges none while the VM runs."""
    return KvmError(
        "bad_state",
        f"Disk {target} of {vm} is transient, and {vm} runs: libvirt merges no layer under such a disk now.",
        f"Nothing was changed. Shut {vm} down (virsh shutdown {vm}), then run the task again.",
    )


def on_a_device(vm: str, target: str, file: str) -> KvmError:
    """Return the error of a snapshot whose disk is on a block device, and so is its overlay: a new one has no place."""
    return KvmError(
        "overlay_dir_unusable",
        f"In this snapshot disk {target} of {vm} is on the block device {file}, and no overlay can be in its directory.",
        "Nothing was changed. Revert to another snapshot: one whose overlay is a file.",
        directory=os.path.dirname(file),
    )


def not_on_new(vm: str) -> KvmError:
    """Return the error of a VM that is not where its revert was to put it."""
    return KvmError(
        "verification_failed",
        f"{vm} is not on its new overlays after the revert.",
        "Do not delete any file. Look with vm_snapshot_info and at libvirt's log.",
    )


def memory_of_other_disk(vm: str, snapshot: str, target: str, then: str, now: str | None) -> KvmError:
    """Return the error of saved memory that knows a disk by a file that is not, or is no more, that disk of the VM."""
    where = f"that disk is on {now} now" if now else "the VM does not have that disk now"
    change = f"its saved memory has disk {target} on {then}, and {where}"
    return other_disks(
        vm, snapshot, change, _DISKS_ALONE, removed=() if now else [target], replaced=[target] if now else ()
    )


def changed_meanwhile(vm: str) -> KvmError:
    """Return the error of a VM whose disks somebody changed while a task was being planned."""
    message = f"Somebody changed the disks of {vm}, or what is based on them, at this very moment."
    return KvmError("busy", message, "Nothing was changed. Run the task again: it looks at what is there first.")


def refuse_memory_of_another(vm: str, uuid: str, snapshot: str, memory: Any) -> None:
    """Raise ``bad_state`` where saved memory is of a domain of another name or UUID: libvirt would start that one."""
    then = memory.findtext("name"), memory.findtext("uuid")
    if then != (vm, uuid):
        message = (
            f"The memory of snapshot {snapshot!r} was saved as VM {then[0]} ({then[1]}), and this is {vm} ({uuid})."
        )
        raise KvmError("bad_state", message, f"Nothing was changed, and the VM was not stopped. {_DISKS_ALONE}")


def named_by_memory(snapshot: str, remedy: str) -> str:
    """Return the way out where saved memory needs something that is not there: no definition can be edited for that."""
    said = f"The memory of snapshot {snapshot!r} names it: to edit the definition does not help."
    return f"{remedy} {said} {_DISKS_ALONE}"
