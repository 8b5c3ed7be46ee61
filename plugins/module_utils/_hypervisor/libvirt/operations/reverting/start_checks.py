# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a VM could start on the snapshot that it is to go back to, asked before it is stopped."""

from __future__ import annotations

import os
from typing import Any

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.libvirt_errors import (
    translated,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.pool_volumes import (
    parse_of,
    unresolved,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.backing_chain import read_chain
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.qemu_user import (
    QemuUser,
    keeps_owner,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.saved_snapshot import Saved
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.operations.same_disks import (
    with_disks_of_now,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.refusals import (
    named_by_memory,
    not_definable,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.starting.can_start import (
    Starting,
    check_definable,
    check_images,
    check_layers,
    check_overlay_directory,
    check_ready,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.vm_handle import VmHandle
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.devices import image_disks
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import SnapshotDisk

_SAVE_SECURE = 1  # virDomainSaveImageXMLFlags
_OFF = "shutoff"


def check_start(handle: VmHandle, target: Saved, final: str, overlays: tuple[SnapshotDisk, ...]) -> tuple[str, ...]:
    """Return what is to be told of its start on the snapshot; raise where it could not: it is asked before it is stopped."""
    definition = handle.definition()
    with translated(handle.name, "asking which user QEMU runs as"):
        user = QemuUser.of(handle.connection, handle.xml())
    for overlay in overlays:
        check_overlay_directory(handle.name, os.path.dirname(str(overlay.file)), user)
    if final == _OFF:
        check_definable(handle.name, _starting(handle, definition, user))
        return ()
    cold, going_on, on_others = target.memory_file is None, [], {overlay.target for overlay in overlays}
    if not cold:
        with translated(handle.name, "reading the saved memory"):
            text = handle.connection.saveImageGetXMLDesc(target.memory_file, _SAVE_SECURE)
            definition = parse_of(handle.native, text)
        going_on = list(with_disks_of_now(handle, target.name, definition, on_others))
    try:
        check_ready(handle.name, _starting(handle, definition, user), replaced=on_others, cold=cold)
    except KvmError as error:
        error.remedy = error.remedy if cold else named_by_memory(target.name, error.remedy)
        raise
    stay = [disk for disk in image_disks(definition) if disk.target not in on_others] if cold else going_on
    check_layers(handle.name, stay)
    for part in target.disks:
        states = [image.file for image in read_chain(part.frozen, part.format)]
        check_images(handle.name, part.target, states, user, relabelled=not keeps_owner(definition, part.target))
    why = "is not in the snapshot and stays as it is, so that the memory may be older than what is on it"
    return tuple(f"{disk.target} {why}" for disk in going_on)


def rehearse_definition(handle: VmHandle) -> None:
    """Define the VM as it is: what libvirt does not take now (something that it checks is gone) it would not take after the stop.

    Raises ``libvirt_error``; the VM is as before.
    """
    definition = unresolved(handle.definition())
    try:
        with translated(handle.name, "defining it as it is"):
            handle.connection.defineXML(definition)
    except KvmError as error:
        if error.error_code == "libvirt_error":
            raise not_definable(handle.name, error) from error
        raise


def check_start_inside(handle: VmHandle, target: Saved, final: str) -> None:
    """Raise where a VM could not start with the definition of a snapshot inside its images, which libvirt takes for that."""
    domain = target.xml.find("domain")
    if final == _OFF or domain is None:
        return
    with translated(handle.name, "asking which user QEMU runs as"):
        user = QemuUser.of(handle.connection, handle.xml())
    check_ready(handle.name, _starting(handle, domain, user), replaced=(), cold=target.memory != "internal")
    check_layers(handle.name, image_disks(domain))


def _starting(handle: VmHandle, domain: Any, user: QemuUser | None) -> Starting:
    return Starting(handle.connection, domain, user, handle.xml() if handle.active() else None)
