# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the mock refuses to begin, since libvirt and QEMU do, or spoil something."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.mock.storage_report import Files, chain_files
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.refusals import (
    block_job_active,
    chain_mismatch,
    disk_replaced,
    disks_changed,
    file_missing,
    managed_save,
    mixed_chain,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.taking.files_plan import check_vm
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import Snapshot
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import VirtualMachine


def refuse_busy(vm: VirtualMachine, native: Mapping[str, Any]) -> None:
    """Raise ``block_job_active``, ``managed_save``, ``transient_domain`` or ``bad_state``."""
    busy = [disk["target"] for disk in native["disks"] if disk.get("block_job") and vm.active]
    if busy:
        raise block_job_active(vm.name, busy[0], 0, 0)  # what libvirt says of a job that has just begun
    if native.get("managed_save") and not vm.active:
        raise managed_save(vm.name)
    check_vm(vm)


def readable_chain(vm: str, target: str, source: str, files: Files) -> list[str]:
    """Return the backing chain of a VM's disk. Raises ``chain_mismatch``."""
    try:
        return chain_files(files, source)
    except ValueError as error:
        raise chain_mismatch(vm, target, f"its backing chain cannot be read: {error}") from error


def refuse_missing(vm: str, snapshot: Snapshot, files: Files, with_memory: bool) -> None:
    """Raise ``file_missing`` where an image of a snapshot's state is gone, or its memory where that is wanted."""
    for disk in snapshot.disks:
        try:
            chain_files(files, str(disk.base))
        except ValueError as error:
            reason = f"the state of disk {disk.target} cannot be read: {error}"
            raise file_missing(vm, snapshot.name, reason, [str(disk.base)]) from error
    memory = snapshot.memory_file if with_memory else None
    if memory and not files.get(memory):
        raise file_missing(vm, snapshot.name, f"its memory {memory} is gone", [memory])


def refuse_changed_disks(vm: str, native: Mapping[str, Any], snapshot: Snapshot, files: Files) -> None:
    """Raise ``disks_changed`` where the VM has not the disks it had when the snapshot was taken."""
    sources = {disk["target"]: disk.get("source") for disk in native["disks"]}
    noted = {disk.target for disk in snapshot.disks} | {part.target for part in snapshot.left_out}
    removed = [disk.target for disk in snapshot.disks if not sources.get(disk.target)]
    added = [disk["target"] for disk in native["disks"] if noted and _is_disk(disk) and disk["target"] not in noted]
    if removed or added:
        raise disks_changed(vm, snapshot.name, removed, added)
    for disk in snapshot.disks:
        roots = _root(files, str(sources[disk.target])), _root(files, str(disk.base))
        if all(roots) and roots[0] != roots[1]:
            state = str(disk.base), files[str(disk.base)]["format"]
            raise disk_replaced(vm, snapshot.name, disk.target, roots, state)


def refuse_mixed(vm: str, native: Mapping[str, Any], snapshots: Sequence[Snapshot], files: Files) -> None:
    """Raise ``mixed_chain`` for a snapshot of both kinds, or for one inside an image that overlays are based on."""
    based_on = {entry.get("backing_file") for entry in files.values() if entry is not None}
    sources = {disk["target"]: disk.get("source") for disk in native["disks"]}
    for one in snapshots:
        if one.kind == "mixed":
            raise mixed_chain(vm, f"snapshot {one.name!r} is partly inside its images and partly not")
        if one.kind == "internal":
            for disk in one.disks:
                if sources.get(disk.target) != disk.base or disk.base in based_on:
                    raise mixed_chain(vm, f"{one.name!r} is inside {disk.base}, which overlays are based on")


def _is_disk(disk: Mapping[str, Any]) -> bool:
    return disk.get("device", "disk") in ("disk", "lun")


def _root(files: Files, image: str) -> str:
    """Return the image that another goes back to; "" where one in between is missing, which is told of elsewhere."""
    try:
        return chain_files(files, image)[-1]
    except ValueError:
        return ""
