# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which disks a snapshot covers, which it leaves out and why, and which it must refuse to pass over in silence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Callable

from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.devices import Disk, disks
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.firmware_states import firmware_states
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.taking.firmware_copies import firmware_left_out
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import LeftOut

NOT_CHOSEN = "not among the disks asked for"
# External overlays of libvirt sit on files and block devices; everything else has no path to name.
_COVERED_TYPES = ("file", "block")
# What an overlay does not inherit: it would be written in plain text, be based on another part of the file, or not start.
_UNUSUAL = {
    "encryption": "is encrypted, and its overlay would not be",
    "slices": "is a slice of its file, and an overlay would be based on the whole file",
    "dataStore": "keeps its data in another file (a data store), and merging would not",
    "reservations": "is held with SCSI reservations, and an overlay cannot be",
}
_QEMU = "{http://libvirt.org/schemas/domain/qemu/1.0}"
_DRIVES = ("drive", "blockdev", "hda", "hdb", "hdc", "hdd", "sd", "mtdblock", "pflash", "fda", "fdb", "virtfs", "fsdev")
_HOST_DEVICES = ("pci", "scsi", "scsi_host", "usb")


def cover(
    vm: str,
    domain: Any,
    chosen: Sequence[str] | None,
    leave_out: bool = False,
    looked_at: Callable[[Disk], str] = lambda _disk: "",
) -> tuple[list[Disk], tuple[LeftOut, ...]]:
    """Return the disks to snapshot, and what is left out.

    ``chosen`` are targets, None for all that can be; ``looked_at`` says of a disk that would be covered what its image
    has against that ("" for nothing). With ``leave_out`` a disk that cannot be covered, and that was not chosen, is left
    out. No disk is returned where the VM has none that holds anything of its own.
    Raises ``disk_not_found``, or ``disk_not_covered`` where a chosen disk cannot be in a snapshot, where a writable one would
    be missing from it unnoticed, or where only those are there that the definition keeps out of snapshots.
    """
    present = disks(domain)
    _check_targets(vm, present, chosen)
    covered: list[Disk] = []
    left_out: list[LeftOut] = []
    for disk in present:
        wanted = chosen is not None and disk.target in chosen
        if chosen is not None and not wanted:
            left_out.append(LeftOut(disk.target, why_left_out(disk) or NOT_CHOSEN))
            continue
        harmless = nothing_to_save(disk) or ("" if wanted else _kept_out(disk))
        obstacle = "" if harmless else _obstacle(disk) or looked_at(disk)
        if (wanted and (harmless or obstacle)) or (obstacle and not leave_out):
            raise _not_covered(vm, disk, harmless or obstacle, present, wanted)
        if harmless or obstacle:
            left_out.append(LeftOut(disk.target, harmless or _as_reason(obstacle)))
        else:
            covered.append(disk)
    if not covered and not leave_out and (chosen is not None or any(map(_kept_out, present))):
        raise _none_left(vm, present)
    return covered, (*left_out, *beside_disks(domain))


def nothing_to_save(disk: Disk) -> str:
    """Return why a snapshot without this disk deceives nobody; "" where it would."""
    if not disk.has_source:
        return "an empty drive"
    if disk.device == "cdrom":
        return "a cdrom"
    if disk.readonly:
        return "read-only"
    return ""


def why_left_out(disk: Disk) -> str:
    """Return why a disk is in no snapshot unless it is named, going by the definition; "" where it would be.

    No image is opened for it: it may lie where nothing answers any more.
    """
    return nothing_to_save(disk) or _kept_out(disk) or _as_reason(_obstacle(disk))


def _kept_out(disk: Disk) -> str:
    """Return what to say of a disk that its definition keeps out of snapshots; virsh leaves it alone too."""
    if disk.snapshot in ("no", "manual") and not nothing_to_save(disk):
        return f"its definition says snapshot='{disk.snapshot}'; to include it in a snapshot, name it in disks"
    return ""


def _obstacle(disk: Disk) -> str:
    if disk.device == "lun":
        return "is a raw passthrough of a LUN"
    if disk.device == "floppy":
        return "is a floppy"
    if disk.transient:
        return "is transient: its writes vanish when the VM stops"
    if disk.shareable:
        return "is shared with other VMs, which would not see the overlay"
    if disk.unresolved:
        return f"is a volume that cannot be found: {disk.unresolved}"
    if disk.type not in _COVERED_TYPES or disk.source is None:
        return f"is of type '{disk.type}', not a file or block device of this host"
    return next((_UNUSUAL[name] for name in disk.unusual), "")


def spoilt_by_overlays(disk: Disk) -> str:
    """Return why a disk that has an overlay all the same is spoilt by a revert or a merge; "" where it is not.

    Earlier versions of this collection put overlays on such disks, and virsh does.
    """
    return next((_UNUSUAL[name] for name in disk.unusual if name in ("encryption", "slices")), "")


def _as_reason(obstacle: str) -> str:
    return obstacle[len("is ") :] if obstacle.startswith("is ") else obstacle


def beside_disks(domain: Any) -> tuple[LeftOut, ...]:
    """Return the state beside the disks that no external snapshot holds, in any libvirt; copies of ours are not counted."""
    firmware = (firmware_left_out(part, state.why) for part, state in firmware_states(domain).items())
    return (*firmware, *_folders(domain), *_host_devices(domain), *_memory_devices(domain), *_drives(domain))


def _folders(domain: Any) -> Iterator[LeftOut]:
    for folder in domain.iterfind("devices/filesystem"):
        driver = folder.find("driver")
        kind = "virtiofs" if driver is not None and driver.get("type") == "virtiofs" else "9p"
        reason = f"a folder of the host ({kind}): no snapshot holds what is in it, and a revert leaves it as it is"
        yield LeftOut(folder.find("target").get("dir"), reason)


def _host_devices(domain: Any) -> Iterator[LeftOut]:
    for device in domain.iterfind("devices/hostdev"):
        kind = device.get("type")
        if kind in _HOST_DEVICES:
            parts = [f"{key}={value}" for one in device.iterfind("source//*") for key, value in one.attrib.items()]
            reason = "a device of the host: no snapshot holds what it stores, and a revert leaves it as it is"
            yield LeftOut(" ".join((f"hostdev {kind}", *parts)), reason)


def _memory_devices(domain: Any) -> Iterator[LeftOut]:
    for device in domain.iterfind("devices/memory"):
        if device.get("model") in ("nvdimm", "virtio-pmem"):
            path = device.findtext("source/path") or ""
            reason = "persistent memory (NVDIMM): no snapshot holds what it stores, and a revert leaves it as it is"
            yield LeftOut(f"{device.get('model')} {path}".strip(), reason)


def _drives(domain: Any) -> Iterator[LeftOut]:
    """Yield what was given to QEMU behind libvirt's back, an option and its value each."""
    words = [str(word.get("value", "")) for word in domain.iterfind(f"{_QEMU}commandline/{_QEMU}arg")]
    for word, value in zip(words, (*words[1:], "")):
        option, _equals, given = word.lstrip("-").partition("=")
        lasting = option == "device" and value.startswith(("nvdimm", "virtio-pmem"))
        if word.startswith("-") and (option in _DRIVES or lasting):
            reason = "passed to QEMU directly (qemu:commandline): libvirt takes no snapshot of it"
            yield LeftOut(f"-{option} {given or value}", reason)


def _check_targets(vm: str, present: Sequence[Disk], chosen: Sequence[str] | None) -> None:
    targets = [disk.target for disk in present]
    unknown = [target for target in chosen or () if target not in targets]
    if unknown:
        raise KvmError(
            "disk_not_found",
            f"{vm} has no disk {', '.join(unknown)}.",
            f"Nothing was changed. Correct disks. The VM has: {', '.join(targets)}.",
            disks=targets,
        )


def _not_covered(vm: str, disk: Disk, reason: str, present: Sequence[Disk], wanted: bool) -> KvmError:
    reason = reason if reason.startswith(("is ", "keeps ")) else f"is {reason}"
    others = [other.target for other in present if other.target != disk.target and not why_left_out(other)]
    remedy = "Nothing was changed."
    if others:
        remedy += f" To take a snapshot without it, name the others: disks: [{', '.join(others)}]"
        remedy += "." if wanted else ", or set on_uncovered: leave_out."
    return KvmError(
        "disk_not_covered",
        f"Disk {disk.target} of {vm} cannot be in a snapshot: it {reason}.",
        remedy,
        disk=disk.target,
        file=disk.source,
    )


def _none_left(vm: str, present: Sequence[Disk]) -> KvmError:
    kept_out = [disk.target for disk in present if _kept_out(disk)]
    message, remedy = f"{vm} has no disk that a snapshot can hold.", "Nothing was changed."
    if kept_out:
        message = (
            f"{vm} has no disk that a snapshot can hold: its definition keeps {', '.join(kept_out)} out of snapshots."
        )
        remedy += f" To include them all the same, name them: disks: [{', '.join(kept_out)}]."
    return KvmError("disk_not_covered", message, remedy, disk=None, file=None)
