# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starting a VM on the overlays of its revert, and putting it back where it was when it does not start there."""

from __future__ import annotations

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.connection import (
    from_libvirt,
    translated,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.library import (
    etree,
    libvirt,
    parse,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.saved import (
    Saved,
    point_to,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.vm import VmHandle
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.journal import RevertJournal
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.devices import image_disks
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError

_START_PAUSED = 1  # VIR_DOMAIN_START_PAUSED
_SAVE_SECURE, _SAVE_RUNNING, _SAVE_PAUSED = 1, 2, 4  # virDomainSaveImageXMLFlags, virDomainSaveRestoreFlags
_PAUSED, _OFF = "paused", "shutoff"


def is_on(handle: VmHandle, journal: RevertJournal) -> bool:
    """Whether the VM is on the new overlays of a revert."""
    now_on = {disk.target: str(disk.source) for disk in image_disks(handle.xml())}
    return all(now_on.get(disk) == overlay for disk, overlay in journal.overlays.items())


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
    return None


def _reason(handle: VmHandle, error: Exception) -> KvmError:
    reason = from_libvirt(error, handle.name, "starting it")
    if reason.error_code == "connection_lost":
        raise reason from error
    return reason


def _load_memory(handle: VmHandle, file: str, journal: RevertJournal, paused: bool) -> None:
    """Go on from the saved moment, on the new overlays."""
    root = parse(handle.connection.saveImageGetXMLDesc(file, _SAVE_SECURE))
    for disk in root.iterfind("devices/disk"):
        overlay = journal.overlays.get(disk.find("target").get("dev"))
        if overlay:
            point_to(disk, overlay, "qcow2")
    flags = _SAVE_PAUSED if paused else _SAVE_RUNNING
    handle.connection.restoreFlags(file, etree.tostring(root, encoding="unicode"), flags)


def go_back(handle: VmHandle, journal: RevertJournal, failed: KvmError, definition: str) -> KvmError:
    """Put a VM that does not start where it was, and return the error that says so.

    ``definition`` is the one it had, "" where another run had put it on the new overlays. Whoever is killed in here is
    followed by one who begins with the start anew, or finds the VM running as it was.
    """
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


def _went_back(vm: str, journal: RevertJournal, failed: KvmError, again: KvmError | None) -> KvmError:
    if again:
        back = f"It is back where it was, but does not start there either, so it is off: {again.message}"
        remedy = f"No data of its disks is lost. Remove the cause and start it: virsh start {vm}."
    else:
        booted = (
            "" if journal.was_power == _OFF else f", and {journal.was_power}: it has booted, because it was stopped"
        )
        back = f"It is back where it was{booted}."
        remedy = "No snapshot and no data of its disks was changed. Remove the cause and run the task again."
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
