# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the records of VMs that are gone still tell: a VM that was defined anew with another UUID is on their overlays."""

from __future__ import annotations

from typing import Any

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.libraries import libvirt
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.file_identity import is_same
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.vm_record import Records
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import VmId


def made_for_gone(connection: Any, records: Records, vm_id: VmId, file: str) -> bool:
    """Whether an overlay was made for another VM that libvirt does not have any more, and is still that very file."""
    return any(
        is_same(other.made[file].identity, file)
        for uuid, other in records.of_others(vm_id)
        if file in other.made and not _is_there(connection, uuid)
    )


def _is_there(connection: Any, uuid: str) -> bool:
    try:
        connection.lookupByUUIDString(uuid)
    except libvirt.libvirtError:
        return False
    return True
