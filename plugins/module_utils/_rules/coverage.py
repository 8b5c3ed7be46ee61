# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which disks a snapshot covers, which it leaves out and why, and which it must refuse to pass over in silence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml import Disk, disks, has_nvram, has_tpm
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import LeftOut

NOT_CHOSEN = "not among the disks asked for"
# External overlays of libvirt sit on files and block devices; everything else has no path to name.
_COVERED_TYPES = ("file", "block")


def cover(vm: str, domain: Any, chosen: Sequence[str] | None) -> tuple[list[Disk], tuple[LeftOut, ...]]:
    """Return the disks to snapshot, and what is left out.

    ``chosen`` are targets, None for all that can be. Raises ``disk_not_found``, or ``disk_not_covered`` where a
    chosen disk cannot be in a snapshot, where a writable one would be missing from it unnoticed, or where none is left.
    """
    present = disks(domain)
    _check_targets(vm, present, chosen)
    covered: list[Disk] = []
    left_out: list[LeftOut] = []
    for disk in present:
        if chosen is not None and disk.target not in chosen:
            left_out.append(LeftOut(disk.target, nothing_to_save(disk) or NOT_CHOSEN))
            continue
        harmless, obstacle = nothing_to_save(disk), _obstacle(disk)
        if harmless and chosen is None:
            left_out.append(LeftOut(disk.target, harmless))
        elif harmless or obstacle:
            raise _not_covered(vm, disk, harmless or obstacle, present)
        else:
            covered.append(disk)
    if not covered:
        raise KvmError("disk_not_covered", f"{vm} has no disk that a snapshot could hold.", "Nothing was changed.")
    return covered, (*left_out, *firmware_left_out(domain))


def nothing_to_save(disk: Disk) -> str:
    """Return why a snapshot without this disk deceives nobody; "" where it would."""
    if not disk.has_source:
        return "an empty drive"
    if disk.device == "cdrom":
        return "a cdrom"
    if disk.readonly:
        return "read-only"
    return ""


def _obstacle(disk: Disk) -> str:
    if disk.device == "lun":
        return "is a raw passthrough of a LUN"
    if disk.device == "floppy":
        return "is a floppy"
    if disk.transient:
        return "is transient, its writes vanish with the VM's process"
    if disk.shareable:
        return "is shared with other VMs, which would not see the overlay"
    if disk.type not in _COVERED_TYPES or disk.source is None:
        return f"is of type '{disk.type}', not a file or block device of this host"
    return ""


def firmware_left_out(domain: Any) -> tuple[LeftOut, ...]:
    """Return the state beside the disks that no external snapshot holds, in any libvirt."""
    left_out = []
    if has_nvram(domain):
        left_out.append(LeftOut("nvram", "UEFI variables are in no external snapshot; copy the nvram file yourself"))
    if has_tpm(domain):
        left_out.append(LeftOut("tpm", "the TPM's state is in no external snapshot; a revert keeps the present one"))
    return tuple(left_out)


def _check_targets(vm: str, present: Sequence[Disk], chosen: Sequence[str] | None) -> None:
    targets = [disk.target for disk in present]
    unknown = [target for target in chosen or () if target not in targets]
    if unknown:
        raise KvmError(
            "disk_not_found",
            f"{vm} has no disk {', '.join(unknown)}.",
            f"Nothing was changed. Its disks: {', '.join(targets)}.",
            disks=targets,
        )


def _not_covered(vm: str, disk: Disk, reason: str, present: Sequence[Disk]) -> KvmError:
    reason = reason if reason.startswith("is ") else f"is {reason}"
    others = [other.target for other in present if not nothing_to_save(other) and not _obstacle(other)]
    remedy = "Nothing was changed."
    if others:
        remedy += f" To take a snapshot without it, name the others: disks: [{', '.join(others)}]."
    return KvmError(
        "disk_not_covered",
        f"Disk {disk.target} of {vm} {reason} and cannot be in a snapshot.",
        remedy,
        disk=disk.target,
    )
