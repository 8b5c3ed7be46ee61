# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starting a VM on the overlays of its revert, and putting it back where it was when it does not start there."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.libraries import libvirt
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.libvirt_errors import (
    from_libvirt,
    translated,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.pool_volumes import (
    parse_of,
    unresolved,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.image_header import read_image
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.new_overlay import (
    create_overlay,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.storage_report import (
    paused_by_disks,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.firmware.plan_return import (
    plan_returns,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.firmware.put_back import (
    put_back,
    undo,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.firmware.state_file import (
    noted_copies,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.firmware.swtpm import firmware_of
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.qemu_user import of_unlabelled
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.saved_snapshot import (
    Saved,
    point_to,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.operations.reverting.start_checks import (
    rehearse_definition,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.operations.same_disks import (
    is_on,
    with_disks_of_now,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.operations.take_plan import (
    unused_path,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.refusals import unreadable
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.vm_handle import VmHandle
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.firmware_notes import FirmwareReturn
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.journal import RevertJournal, now
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.devices import source_path
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.taking.firmware_copies import called
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import VirtualMachine

_REVERT_RUNNING, _REVERT_PAUSED, _REVERT_FORCE = 1, 2, 4  # virDomainSnapshotRevertFlags
_START_PAUSED = 1  # VIR_DOMAIN_START_PAUSED
_SAVE_SECURE, _SAVE_RUNNING, _SAVE_PAUSED = 1, 2, 4  # virDomainSaveImageXMLFlags, virDomainSaveRestoreFlags
_STOP_SECONDS = 30.0
_RUNNING, _PAUSED, _OFF = "running", "paused", "shutoff"


def power_afterwards(handle: VmHandle, vm: VirtualMachine, power: str) -> str:
    """Return the power that a VM is to have after a revert: what was asked for, or what it has now."""
    if power != "restore":
        return power
    with translated(handle.name, "asking why it is paused"):
        meant = _RUNNING if paused_by_disks(vm, handle.native) else vm.power  # nobody meant that pause
    return meant if meant in (_RUNNING, _PAUSED) else _OFF


def firmware_back(
    handle: VmHandle, definition: Any, target: Saved, power: str
) -> tuple[dict[str, FirmwareReturn], tuple[str, ...]]:
    """Return how a VM of this definition gets the UEFI variables and the TPM of a snapshot back, and what is told of that."""
    with translated(handle.name, "asking where its firmware keeps its state"):
        states = firmware_of(handle.connection, definition)
    users = handle.around().users
    return plan_returns(
        states,
        noted_copies(handle.record(), target.name, target.created_at),
        loads_memory=target.memory_file is not None and power != _OFF,
        unused=lambda directory, name: unused_path((), directory, name, ""),
        used_by=lambda file: " and ".join(sorted({one.name for one in users.of(file) if one.uuid != handle.id.uuid})),
    )


def put_firmware_back(handle: VmHandle, journal: RevertJournal) -> KvmError | None:
    """Give a VM that is off the UEFI variables and the TPM of its snapshot; return why that fails."""
    if not journal.returning or handle.active():
        return None
    return put_back(handle.name, journal.returning, noted_copies(handle.record(), journal.snapshot, journal.created_at))


def make_overlays(handle: VmHandle, target: Saved, overlays: Mapping[str, str]) -> None:
    """Make what a VM is to start on, by disk: an empty overlay on each state of a snapshot. It is to be defined on these."""
    rehearse_definition(handle)
    with translated(handle.name, "asking which user QEMU runs as"):
        users = of_unlabelled(handle.connection, handle.definition())
    for part in target.disks:
        try:
            image = read_image(part.frozen, part.format)
        except (OSError, ValueError) as error:
            raise unreadable(handle.name, target.name, part, error) from error
        create_overlay(overlays[part.target], image.file, image.format, image.virtual_size, users.get(part.target))


def stop(handle: VmHandle, journal: RevertJournal) -> None:
    """Stop a VM hard, unless it was off when its revert began: whoever started it since means what it is on."""
    if journal.was_power == _OFF:
        return
    with translated(handle.name, "stopping it"):
        if handle.native.isActive():
            handle.write(replace(handle.record(), journal=replace(journal, stopping_at=now())), durable=True)
            try:
                handle.native.destroy()
            except libvirt.libvirtError:
                # "Failed to terminate process": it was killed, and ends when its storage answers.
                _wait_until_off(handle)
                if handle.active():
                    raise
    _wait_until_off(handle)


def _wait_until_off(handle: VmHandle) -> None:
    end = time.monotonic() + _STOP_SECONDS
    while handle.active() and time.monotonic() < end:
        time.sleep(0.05)


def start(handle: VmHandle, journal: RevertJournal, target: Saved) -> KvmError | None:
    """Start it as it shall be; return why it does not start. Raises ``connection_lost``: the next run goes on."""
    paused = journal.power == _PAUSED
    try:
        if target.memory_file and target.memory == "external":
            _load_memory(handle, target.memory_file, journal, paused)
        else:
            handle.native.createWithFlags(_START_PAUSED if paused else 0)
    except libvirt.libvirtError as error:
        reason = _reason(handle, error)
        # Somebody else may have been quicker, on the new overlays too.
        return None if handle.active() and is_on(handle, journal) else reason
    except KvmError as error:  # the disks have changed since it was planned
        if error.error_code == "connection_lost":
            raise
        return error
    return None


def _reason(handle: VmHandle, error: Exception) -> KvmError:
    reason = from_libvirt(error, handle.name, "starting it")
    if reason.error_code == "connection_lost":
        raise reason from error
    return reason


def _load_memory(handle: VmHandle, file: str, journal: RevertJournal, paused: bool) -> None:
    """Go on from the saved moment, on the new overlays."""
    root = parse_of(handle.native, handle.connection.saveImageGetXMLDesc(file, _SAVE_SECURE))
    going_on = with_disks_of_now(handle, journal.snapshot, root, journal.overlays)
    images = {disk.target: (str(disk.source), disk.format) for disk in going_on}
    images.update((target, (overlay, "qcow2")) for target, overlay in journal.overlays.items())
    for disk in root.iterfind("devices/disk"):
        image = images.get(disk.find("target").get("dev"))
        if image and source_path(disk) != image[0]:
            point_to(disk, *image)
    flags = _SAVE_PAUSED if paused else _SAVE_RUNNING
    handle.connection.restoreFlags(file, unresolved(root), flags)


def go_back(handle: VmHandle, journal: RevertJournal, failed: KvmError, definition: str) -> KvmError:
    """Put a VM that does not start where it was, and return the error that says so.

    ``definition`` is the one it had, "" where another run had put it on the new overlays. Whoever is killed in here is
    followed by one who begins with the start anew, or finds the VM running as it was.
    """
    _firmware_as_before(handle, journal, failed)
    if definition:
        with translated(handle.name, "defining it as it was"):
            handle.connection.defineXML(definition)
    else:
        handle.define(journal.was)
    again = None
    if journal.was_power != _OFF:
        try:
            handle.native.createWithFlags(_START_PAUSED if journal.was_power == _PAUSED else 0)
        except libvirt.libvirtError as error:
            again = _reason(handle, error)
    return _went_back(handle.name, journal, failed, again)


def _firmware_as_before(handle: VmHandle, journal: RevertJournal, failed: KvmError) -> None:
    """Give a VM the UEFI variables and the TPM that it had, before it is where it was.

    Raises ``start_failed``: the next run tries again.
    """
    try:
        undo(journal.returning, noted_copies(handle.record(), journal.snapshot, journal.created_at))
    except OSError as error:
        had = " and ".join(map(called, journal.returning))
        why = f"{failed.message} Nor can {had} be put back as before: {error}."
        message = f"{handle.name} does not start on snapshot {journal.snapshot!r}: {why}"
        remedy = "It is off. Remove the cause and run the task again: it tries once more, and goes back if it has to."
        raise KvmError("start_failed", message, remedy, **failed.details) from error


def _went_back(vm: str, journal: RevertJournal, failed: KvmError, again: KvmError | None) -> KvmError:
    if again:
        back = f"It is back where it was, but does not start there either, so it is off: {again.message}"
        remedy = f"No data of its disks is lost. Remove the cause and start it: virsh start {vm}."
    else:
        booted = f", and {journal.was_power}: its guest has booted, since it had to be stopped"
        back = f"It is back where it was{'' if journal.was_power == _OFF else booted}."
        remedy = "No data of its disks was changed. Remove the cause and run the task again."
    message = f"{vm} does not start on snapshot {journal.snapshot!r}: {failed.message} {back}"
    return KvmError("start_failed", message, remedy, **failed.details)


def start_failed(vm: str, reason: KvmError) -> KvmError:
    """Return the error of a VM that has no way back, since what it had was dropped by then."""
    return KvmError(
        "start_failed",
        f"{vm} is reverted, but off, because it does not start: {reason.message}",
        f"Remove the cause and start it: virsh start {vm}.",
        **reason.details,
    )


def revert_internal(handle: VmHandle, target: Saved, power: str) -> None:
    """Let libvirt revert to what is inside the images; the definition stays as it is."""
    definition = unresolved(handle.definition())
    handle.agree(handle.survey(), {})
    flags = {_RUNNING: _REVERT_RUNNING, _PAUSED: _REVERT_PAUSED}.get(power, 0) | _REVERT_FORCE
    with translated(handle.name, "reverting to the snapshot inside its images"):
        try:
            handle.native.revertToSnapshot(handle.native.snapshotLookupByName(target.name, 0), flags)
            if power == _OFF and handle.native.isActive():
                handle.native.destroy()
        finally:
            handle.connection.defineXML(definition)
