# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the mock refuses to begin, since libvirt and QEMU do, or spoil something."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.mock.storage import Files, chain_files
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.files import check_domain
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import Snapshot
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import VirtualMachine


def refuse_busy(vm: VirtualMachine, native: Mapping[str, Any]) -> None:
    """Raise ``block_job_active``, ``managed_save``, ``transient_domain`` or ``bad_state``."""
    busy = [disk["target"] for disk in native["disks"] if disk.get("block_job") and vm.active]
    if busy:
        raise KvmError(
            "block_job_active",
            f"A block job (merge, copy or backup) runs on disk {busy[0]} of {vm.name}.",
            f"Nothing was changed. Wait for it: virsh blockjob {vm.name} {busy[0]}.",
            disk=busy[0],
        )
    if native.get("managed_save") and not vm.active:
        raise KvmError(
            "managed_save",
            f"{vm.name} has a managed save: at its next start it would go on with the disks as they were.",
            f"Nothing was changed. Start it first, or throw the saved state away: virsh managedsave-remove {vm.name}.",
        )
    check_domain(vm)


def readable_chain(vm: str, target: str, source: str, files: Files) -> list[str]:
    """Return the backing chain of a VM's disk. Raises ``chain_mismatch``."""
    try:
        return chain_files(files, source)
    except ValueError as error:
        raise KvmError(
            "chain_mismatch",
            f"Disk {target} of {vm} is not as it should be: its backing chain cannot be read: {error}.",
            "Nothing was changed. Look at vm_snapshot_info.",
            disk=target,
        ) from error


def refuse_missing(vm: str, snapshot: Snapshot, files: Files, with_memory: bool) -> None:
    """Raise ``file_missing`` where an image of a snapshot's state is gone, or its memory where that is wanted."""
    memory = snapshot.memory_file if with_memory else None
    missing = [] if memory is None or files.get(memory) else [memory]
    for disk in snapshot.disks:
        try:
            chain_files(files, str(disk.base))
        except ValueError as error:
            missing.append(str(error).split(" is missing", maxsplit=1)[0])
    if missing:
        raise KvmError(
            "file_missing",
            f"Snapshot {snapshot.name!r} of {vm} cannot be used: {', '.join(missing)} {_verb(missing)} gone.",
            "Nothing was changed. Bring it back from a backup, or choose another snapshot.",
            files=missing,
        )


def refuse_changed_disks(vm: str, native: Mapping[str, Any], snapshot: Snapshot, files: Files) -> None:
    """Raise ``disks_changed`` where the VM has not the disks it had when the snapshot was taken."""
    sources = {disk["target"]: disk.get("source") for disk in native["disks"]}
    noted = {disk.target for disk in snapshot.disks} | {part.target for part in snapshot.left_out}
    removed = [disk.target for disk in snapshot.disks if not sources.get(disk.target)]
    added = [disk["target"] for disk in native["disks"] if _is_disk(disk) and disk["target"] not in noted]
    other = [
        disk.target
        for disk in snapshot.disks
        if disk.target not in removed and not _same_root(files, str(sources[disk.target]), disk.base)
    ]
    parts = [(removed, "removed"), (added if noted else [], "added"), (other, "replaced")]
    changes = [f"{', '.join(targets)} {word}" for targets, word in parts if targets]
    if changes:
        raise KvmError(
            "disks_changed",
            f"The disks of {vm} are not those of snapshot {snapshot.name!r}: {'; '.join(changes)} since.",
            "Nothing was changed. Give the VM the disks that it had then.",
            removed=removed,
            added=added,
            replaced=other,
        )


def refuse_mixed(vm: str, native: Mapping[str, Any], snapshots: Sequence[Snapshot], files: Files) -> None:
    """Raise ``mixed_chain`` for a snapshot of both kinds, or for one inside an image that overlays are based on."""
    based_on = {entry.get("backing_file") for entry in files.values() if entry is not None}
    sources = {disk["target"]: disk.get("source") for disk in native["disks"]}
    for one in snapshots:
        if one.kind == "mixed":
            raise _mixed(vm, f"snapshot {one.name!r} is partly inside the images and partly not")
        if one.kind == "internal":
            for disk in one.disks:
                if sources.get(disk.target) != disk.base or disk.base in based_on:
                    raise _mixed(vm, f"snapshot {one.name!r} is inside {disk.base}, which has overlays now")


def _mixed(vm: str, reason: str) -> KvmError:
    return KvmError(
        "mixed_chain",
        f"Snapshots of {vm} are of both kinds: {reason}.",
        "Nothing was changed. Remove the internal or the external ones first, newest first.",
    )


def _is_disk(disk: Mapping[str, Any]) -> bool:
    return disk.get("device", "disk") in ("disk", "lun")


def _same_root(files: Files, source: str, base: str | None) -> bool:
    """Whether two images go back to the same one; what is missing in between is told of elsewhere."""
    try:
        return base is not None and chain_files(files, source)[-1] == chain_files(files, base)[-1]
    except ValueError:
        return True


def _verb(items: Sequence[str]) -> str:
    return "is" if len(items) == 1 else "are"
