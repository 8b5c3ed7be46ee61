# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Deciding a snapshot's disks and files, and refusing what must not begin, without touching the VM."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Callable

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.chain_checks import (
    check_frozen,
    check_written,
    checked_chain,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.libraries import (
    require_qemu_img,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.libvirt_errors import (
    translated,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.backing_chain import peculiarity
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.note_frozen_images import (
    foreseen,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.storage_report import (
    StorageReader,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.firmware.state_file import (
    obstacle,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.firmware.swtpm import firmware_of
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.qemu_user import QemuUser
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.real_paths import real_path
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.inspection import Inspected
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.merge.confinement import foresee
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.saved_snapshot import (
    named_by,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.refusals import (
    frozen_image_written,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.running_jobs import (
    refuse_checkpoints,
    refuse_jobs,
    refuse_saved_memory,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.starting.can_start import (
    check_overlay_directory,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.vm_handle import VmHandle
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.devices import disks
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.firmware_states import FirmwareState
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.layer_steps import MOST_LAYERS
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.taking.coverage import cover
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.taking.files_plan import (
    check_depth,
    check_vm,
    files_plan,
    overlay_directory,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.taking.firmware_copies import firmware_copies
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.taking.freeze import decide_freeze
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.plan import SnapshotPlan
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.request import SnapshotRequest
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import VirtualMachine

# Libvirt 10.8 to 11.10 cannot parse the chain of a VM with more layers at its start (json-c's depth of 32); fixed 12.0.
_SHALLOW_LIBVIRT, _SHALLOW_LAYERS = (10_008_000, 12_000_000), 25


def plan_take(handle: VmHandle, vm: Inspected, request: SnapshotRequest) -> SnapshotPlan:
    """Return the plan. Raises as `Hypervisor.plan_take` says."""
    with translated(vm.name, "asking for its jobs"):
        refuse_jobs(vm, handle.native, vm.xml)
        check_written(vm.name, handle.native, vm.xml)
    if not vm.active:
        refuse_saved_memory(handle)
        refuse_checkpoints(handle, taking=True)
    if not vm.active or request.undoable or decide_freeze(vm, request)[0]:  # else QEMU makes the overlays
        require_qemu_img(vm.name)
    if vm.snapshots or handle.record().active:
        check_frozen(handle, handle.saved())
    unused = partial(unused_path, handle.record().making, named=named_by(handle.saved()))
    with translated(vm.name, "asking where its firmware keeps its state"):
        firmware = firmware_of(handle.connection, vm.xml)
    plan = _plan(vm, vm.xml, request, libvirt_version=handle.version, unused=unused, firmware=firmware)
    _check_alone(handle, plan)
    if plan.snapshot.firmware_copies:
        require_qemu_img(vm.name)  # its overlays are there before it is suspended
    _check_directories(handle, vm.xml, plan)
    if request.undoable and vm.active:
        targets = {disk.target for disk in plan.snapshot.disks}
        tops = [real_path(str(disk.source)) for disk in disks(vm.xml) if disk.target in targets]
        plan = replace(plan, notes=(*plan.notes, *foresee(handle, tops)))
    return plan if vm.snapshots else replace(plan, notes=(*plan.notes, *_left_by_others(handle, vm)))


def _check_alone(handle: VmHandle, plan: SnapshotPlan) -> None:
    """Raise ``frozen_image_written`` where another VM is defined to write to what the snapshot would freeze."""
    around = handle.around()
    for overlay in plan.snapshot.disks:
        image = real_path(str(overlay.base))
        for user in around.users.of(image, around.owner):
            if user.writes:
                raise frozen_image_written(handle.name, image, plan.snapshot.name, user, "would hold")


def _check_directories(handle: VmHandle, xml: Any, plan: SnapshotPlan) -> None:
    with translated(handle.name, "asking which user QEMU runs as"):
        user = QemuUser.of(handle.connection, xml)
    for directory in dict.fromkeys(need.directory for need in plan.needs):
        check_overlay_directory(handle.name, directory, user, " Or give another directory: overlay_dir.")


def _left_by_others(handle: VmHandle, vm: Inspected) -> tuple[str, ...]:
    with translated(vm.name, "reading the disks"):
        reader = StorageReader(handle.connection, handle.records, handle.host_files)
        return reader.left_by_others(vm, vm.xml, handle.native)


def _plan(
    vm: VirtualMachine,
    domain: Any,
    request: SnapshotRequest,
    *,
    libvirt_version: int,
    unused: Callable[..., str],
    firmware: Mapping[str, FirmwareState],
) -> SnapshotPlan:
    """Return the plan; ``unused`` finds a path that nothing has, from a directory, a stem and a suffix."""
    check_vm(vm)
    covered, left_out = cover(vm.name, domain, request.disks, request.leaves_out, peculiarity)
    shallow = _SHALLOW_LIBVIRT[0] <= libvirt_version < _SHALLOW_LIBVIRT[1]
    files: list[str] = []
    for disk in covered:
        chain = checked_chain(vm.name, disk)
        check_depth(vm.name, disk, len(chain), _SHALLOW_LAYERS if shallow else MOST_LAYERS)
        files += [image.file for image in chain]
    directories = [
        (disk, overlay_directory(vm.name, disk, os.path.realpath(str(disk.source)), request.overlay_dir))
        for disk in covered
    ]
    active = partial(obstacle, active=vm.active)
    copies, left_out = firmware_copies(vm.name, firmware, request, left_out, obstacle=active, unused=unused)
    plan = files_plan(vm, request, directories, left_out, unused, copies=copies)
    past = foreseen(files, os.path.dirname(plan.snapshot.memory_file or ""))
    return replace(plan, snapshot=replace(plan.snapshot, past=past.past, past_reasons=past.reasons))


def unused_path(
    leftovers: Collection[str], directory: str, stem: str, suffix: str, *, named: Collection[str] = ()
) -> str:
    """Return a path that nothing has yet: a file of that name may be another snapshot's state.

    ``named`` are paths that snapshots name. They are left free also where the file is lost: another file there would pass for it.
    """
    path, number = os.path.join(directory, stem + suffix), 1
    while (os.path.lexists(path) and path not in leftovers) or path in named:
        number += 1
        path = os.path.join(directory, f"{stem}-{number}{suffix}")
    return path
