# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether something is at work on a VM: jobs of libvirt, block jobs, a managed save, a process that writes to its images."""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import suppress
from typing import Any

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.libraries import (
    libvirt,
    parse,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.libvirt_errors import (
    translated,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.backing_chain import walk_chain
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.read_layers import memory_files
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.any_format_backing import (
    UNREADABLE,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.open_files import writers
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.real_paths import real_path
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.users.saved_memory import (
    DIRECTORY,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.in_use_refusals import (
    still_written,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.refusals import (
    saved_in_file,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.vm_handle import VmHandle
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.devices import disks, image_disks
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.named_files import named_files
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.refusals import block_job_active, managed_save
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.taking.files_plan import check_vm
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import VirtualMachine

_NO_JOB = 0  # VIR_DOMAIN_JOB_NONE
_REWRITES_SINCE = (
    11_003_000  # 9.0 fails for a VM that is off, with "cannot perform block operations while checkpoint exists"
)
_BACKUP = 5  # VIR_DOMAIN_BLOCK_JOB_TYPE_BACKUP
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


def check_idle(handle: VmHandle, vm: VirtualMachine) -> None:
    """Raise ``transient_domain``, ``bad_state``, ``block_job_active``, ``busy`` or ``managed_save``."""
    check_vm(vm)
    with translated(vm.name, "asking for its jobs"):
        refuse_jobs(vm, handle.native, handle.xml())
    if not vm.active:
        refuse_saved_memory(handle)
        refuse_checkpoints(handle)


def refuse_jobs(vm: VirtualMachine, native: Any, xml: Any) -> None:
    """Raise ``block_job_active`` or ``busy`` for a VM that runs, ``managed_save`` or ``file_in_use`` for one that is off.

    Raises `libvirtError` too.
    """
    if vm.active:
        _refuse_on_disks(vm.name, native, xml, ())
        refuse_vm_job(vm.name, native)
    elif native.hasManagedSaveImage(0):
        raise managed_save(vm.name)
    else:
        refuse_writers(vm.name, xml)


def backup_notes(handle: VmHandle) -> tuple[str, ...]:
    """Return what is told of a revert of a VM that has checkpoints: what they begin from is not on its disks afterwards."""
    names = _checkpoints(handle)
    said = "an incremental backup from there fails after the revert (missing or broken bitmap): make a full one"
    return (f"it has checkpoints ({', '.join(names)}); {said}",) if names else ()


def _checkpoints(handle: VmHandle) -> list[str]:
    """Return the names of the checkpoints of a VM, which incremental backups begin from."""
    if handle.id.uuid not in handle.around().users.with_checkpoints:
        return []
    with translated(handle.name, "reading its checkpoints"):
        return sorted(one.getName() for one in handle.native.listAllCheckpoints(0))


def refuse_checkpoints(handle: VmHandle, *, taking: bool = False) -> None:
    """Raise ``bad_state`` where libvirt takes, or rewrites, no snapshot of a VM that is off because it has checkpoints."""
    names = _checkpoints(handle) if taking or handle.version < _REWRITES_SINCE else []
    if names:
        what = "takes no snapshot" if taking else "does not rewrite the snapshots"
        raise KvmError(
            "bad_state",
            f"{handle.name} has checkpoints ({', '.join(names)}), and this libvirt {what} of such a VM while it is off.",
            "Nothing was changed. Do this while the VM runs. Or have libvirt forget the checkpoints, so that the next backup is "
            f"a full one: virsh checkpoint-delete {handle.name} NAME --metadata.",
        )


def refuse_managed_save(handle: VmHandle) -> None:
    """Raise ``managed_save`` where memory was saved of a VM that is off: it belongs to the disks as they are."""
    with translated(handle.name, "asking for its jobs"):
        if not handle.active() and handle.native.hasManagedSaveImage(0):
            raise managed_save(handle.name)


def saved_on(handle: VmHandle, files: Collection[str]) -> KvmError | None:
    """Return the refusal where memory was saved of a VM that is off, and goes on with one of the files; else None."""
    with translated(handle.name, "asking for its saved memory"):
        if not files or handle.active() or not handle.native.hasManagedSaveImage(0):
            return None
        saved = parse(handle.native.managedSaveGetXMLDesc(0))
    needed = {real_path(one.path) for one in named_files(saved)}
    return None if needed.isdisjoint(map(real_path, files)) else managed_save(handle.name)


def refuse_saved_memory(handle: VmHandle) -> None:
    """Raise ``managed_save`` where somebody has saved the memory of a VM that is off to a file, and it fits the disks still."""
    around, tops = handle.around(), [real_path(image) for _target, image in handle.tops()]
    around.files.look_into({DIRECTORY, *map(os.path.dirname, tops)})
    named = memory_files(handle.saved(), handle.record())
    for top in tops:
        for memory in around.memories(top, named):
            if memory.uuid == handle.id.uuid and memory.is_on(top):
                raise saved_in_file(handle.name, memory.file)


def refuse_block_jobs(handle: VmHandle, but: Collection[str] = ()) -> None:
    """Raise ``block_job_active`` where a block job runs on a disk, save those ``but``."""
    with translated(handle.name, "asking for its jobs"):
        if handle.active():
            _refuse_on_disks(handle.name, handle.native, handle.xml(), but)


def refuse_vm_job(vm: str, native: Any) -> None:
    """Raise ``busy`` where a job of the whole VM runs: libvirt would wait for its end, 30 s, with the guest frozen.

    This query is answered during such a job (measured on 7.0, 9.0 and 11.3, in a tenth of a millisecond). Of a dump or a save
    whose reader is slow it says "completed" while the job still holds the VM; only none is none. Raises `libvirtError` too.
    """
    if not has_vm_job(native):
        return
    operation = _operation(native)
    raise KvmError(
        "busy",
        f"{vm} is busy: libvirt is at work on a {operation} of it.",
        f"Nothing was changed. Wait for its end (virsh domjobinfo {vm}), or abort it: virsh domjobabort {vm}.",
        job=operation,
    )


def has_vm_job(native: Any) -> bool:
    """Whether a job of the whole VM runs. Raises `libvirtError`."""
    return bool(native.jobInfo()[0] != _NO_JOB)


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
        raise still_written(vm, file, pid)


def _refuse_on_disks(vm: str, native: Any, xml: Any, but: Collection[str]) -> None:
    for disk in disks(xml):
        job = native.blockJobInfo(disk.target, 0) if disk.has_source and disk.target not in but else None
        if job:
            raise block_job_active(vm, disk.target, job.get("cur"), job.get("end"), job.get("type") == _BACKUP)
