# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Having the definition of a running VM follow the disks of its snapshot."""

from __future__ import annotations

from typing import Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.real_paths import real_path
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.saved_snapshot import Saved
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.vm_handle import VmHandle
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.devices import disks


def follow(handle: VmHandle, taken: Saved) -> None:
    """Put the definition of a running VM on the overlays too, where libvirt left it on the images under them.

    Libvirt 7.0 does so with a volume of a pool, which it takes for another image than the file that it has translated that
    to: at its next start the VM would write to what the snapshot has frozen (9.0 and 11.3 do not).
    """
    if not handle.active():
        return
    defined = {disk.target: disk for disk in disks(handle.definition())}
    behind = {
        part.target: (part.overlay, "qcow2")
        for part in taken.disks
        if part.overlay and (disk := defined.get(part.target)) and _is_same(disk.source, part.frozen)
    }
    if behind:
        handle.define(behind)


def _is_same(path: Optional[str], other: str) -> bool:
    return path is not None and real_path(path) == real_path(other)
