# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must hold of images before libvirt writes into them what a snapshot inside them held."""

from __future__ import annotations

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.real_paths import real_path
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.saved_snapshot import Saved
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.refusals import frozen_image_written
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.storage_findings import lost_inside
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.vm_handle import VmHandle
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.devices import Disk
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.refusals import file_missing, mixed_chain
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError


def check_internal(handle: VmHandle, target: Saved, disks: dict[str, Disk]) -> None:
    """Raise ``mixed_chain`` where the VM has left the images that hold a snapshot inside, or something is based on them.

    Libvirt writes what they held into the images themselves: raises ``frozen_image_written`` or ``file_in_use`` where one is
    somebody else's too, and ``file_missing`` where the snapshot is not inside any more.
    """
    layers = handle.survey().layers
    for file in lost_inside(target):
        raise file_missing(handle.name, target.name, f"it is not inside {file} any more", [file])
    for part in target.disks:
        state, top = real_path(part.frozen), real_path(str(disks[part.target].source))
        if state != top:
            raise mixed_chain(handle.name, f"{target.name!r} is inside {part.frozen}, and the VM is on {top} now")
        if layers.above(state) or state in layers.frozen - layers.fixed:
            raise mixed_chain(handle.name, f"{target.name!r} is inside {part.frozen}, which overlays are based on")
        _refuse_sharing(handle, target.name, part.frozen)


def _refuse_sharing(handle: VmHandle, snapshot: str, image: str) -> None:
    """Raise ``frozen_image_written`` or ``file_in_use`` where an image that a task is about to write to is somebody else's too,
    or nobody can tell.
    """
    around, real = handle.around(), real_path(image)
    unknown = around.why_unknown(real)
    for user in around.users.of(real, around.owner):
        if user.writes:
            raise frozen_image_written(handle.name, image, snapshot, user)
        unknown = f"{user} uses it"
    if unknown:
        raise KvmError(
            "file_in_use",
            f"A revert of {handle.name} to {snapshot!r} writes to {image} itself, and that file may be in use: {unknown}.",
            "Nothing was changed. Remove that cause, or give each its own copy of the file. Then run the task again.",
            file=image,
        )
