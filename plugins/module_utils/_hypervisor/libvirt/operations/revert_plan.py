# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Deciding a revert, and refusing what must not begin: all that can be checked is, before the VM is stopped."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.can_start import (
    check_images,
    check_layers,
    check_overlay_directory,
    check_ready,
    check_writable,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.chain_checks import (
    check_chains,
    frozen_written,
    refuse_spoiling,
    refuse_unresolved,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.libraries import (
    require_qemu_img,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.libvirt_errors import (
    translated,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.pool_volumes import parse_of
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.backing_chain import read_chain
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.image_header import Image
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.unused_overlays import (
    left_whole,
    leftovers,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.firmware.put_back import differs
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.firmware.variables_file import (
    noted_copy,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.file_identity import (
    holds_no_images,
    is_device,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.qemu_user import (
    QemuUser,
    keeps_owner,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.real_paths import real_path
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.saved_snapshot import (
    Saved,
    SavedDisk,
    named_by,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.operations.same_disks import (
    check_internal,
    check_same_disks,
    is_needed,
    resizes,
    with_disks_of_now,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.operations.start_or_go_back import (
    power_afterwards,
    variables_back,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.operations.take_plan import (
    unused_path,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.read_only_files import (
    refuse_read_only,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.refusals import (
    named_by_memory,
    on_a_device,
    unreadable,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.running_jobs import (
    backup_notes,
    check_idle,
    refuse_checkpoints,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.storage_findings import set_aside
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.vm_handle import VmHandle
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.vm_record import Record
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.devices import (
    has_agent_channel,
    image_disks,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.guest_clock import clock_foreseen
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.image_changes import CHANGED
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.refusals import (
    file_missing,
    mixed_chain,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.snapshot_names import file_name
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.plan import RevertPlan
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import Snapshot, SnapshotDisk
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import VirtualMachine

_SAVE_SECURE = 1  # virDomainSaveImageXMLFlags
_OFF = "shutoff"


@dataclass(frozen=True)
class RevertWish:
    """The snapshot to go back to, and the power that the VM is to have then (or ``restore``)."""

    snapshot: Snapshot
    power: str


def plan_revert(handle: VmHandle, vm: VirtualMachine, wish: RevertWish) -> RevertPlan:
    """Return the plan. Raises as `Hypervisor.plan_revert` says."""
    snapshot = wish.snapshot
    check_idle(handle, vm)
    target = handle.snapshot(snapshot.name)
    every = handle.saved()
    refuse_unresolved(vm.name, every)
    final = power_afterwards(handle, vm, wish.power)
    if final == _OFF:
        refuse_checkpoints(handle)
    if target.kind == "mixed":
        raise mixed_chain(vm.name, f"snapshot {target.name!r} is partly inside its images and partly not")
    defined = {disk.target: disk for disk in image_disks(handle.definition())}  # it is stopped, and starts with these
    disks = {disk.target: disk for disk in image_disks(handle.xml()) if disk.target in defined}
    made = {real_path(file) for one in every for file in one.overlays}
    made = made.union(handle.record().overlays, handle.record().made)
    for now_on in (disks, {name: defined[name] for name in disks}) if vm.active else (disks,):
        check_same_disks(vm.name, target, now_on, made)
    if target.kind == "internal":
        check_internal(handle, target, disks)
        _check_inside_ready(handle, target, final)
        return RevertPlan(vm, snapshot, (), (), final)
    require_qemu_img(vm.name)
    states = _check_states(handle, target)
    record = keeping(handle, every, snapshot)
    forest = handle.survey(record=record)
    refuse_spoiling(
        vm.name, forest.images, every, {real_path(image.file) for chain in states.values() for image in chain}
    )
    overlays = tuple(_overlay(handle, target.name, part) for part in target.disks)
    resized = tuple(resizes(forest, states))
    variables, told = variables_back(handle, handle.definition(), target, final)
    notes = (*_memory_notes(handle, target, final), *told, *map(str, resized), *backup_notes(handle))
    changes = bool(resized) or differs(variables, noted_copy(handle.record(), target.name, target.created_at))
    if not changes and not is_needed(vm, snapshot, forest, target, final):
        return RevertPlan(vm, snapshot, (), (), final, False, notes)
    going = forest.go_back({part.target: real_path(part.frozen) for part in target.disks}, record)
    dropped = tuple(file for file in going if not is_device(file))
    refuse_read_only(vm.name, (), dropped, handle.around().files.mounts)
    kept = (
        *left_whole(vm.name, forest, record, overlays),
        *(
            one
            for one in leftovers(vm.name, forest, every, {part.target: str(part.file) for part in overlays})
            if one.snapshot is None or one.why == "detached" or one.file in record.kept
        ),
    )
    notes = (*notes, *_check_ready(handle, target, final, overlays), *map(str, kept))
    return RevertPlan(vm, snapshot, overlays, dropped, final, True, notes, kept, resized)


def keeping(handle: VmHandle, every: Sequence[Saved], snapshot: Snapshot) -> Record:
    """Return the VM's record, with the overlays that must not go although a revert would drop them.

    Where the task accepts an image that others changed, the VM may be on that very image: somebody committed its overlay down,
    or put back an older definition. Nobody can tell which, so an overlay that may have the newest data stays.
    Raises as `check_frozen` does where nothing was accepted.
    """
    record, errors = set_aside(handle, every), list(frozen_written(handle, every))
    for error in errors:
        if error.error_code != "definition_changed" or snapshot.past != CHANGED:
            raise error
    if not errors:
        return record
    aside = handle.survey().unneeded()
    return replace(record, kept=tuple(sorted({*record.kept, *aside})))


def _check_ready(handle: VmHandle, target: Saved, final: str, overlays: tuple[SnapshotDisk, ...]) -> tuple[str, ...]:
    """Return what is to be told of its start on the snapshot; raise where it could not: it is asked before it is stopped."""
    definition = handle.definition()
    with translated(handle.name, "asking which user QEMU runs as"):
        user = QemuUser.of(handle.connection, handle.xml())
    for overlay in overlays:
        check_overlay_directory(handle.name, os.path.dirname(str(overlay.file)), user)
    if final == _OFF:
        return ()
    cold, going_on, on_others = target.memory_file is None, [], {overlay.target for overlay in overlays}
    if not cold:
        with translated(handle.name, "reading the saved memory"):
            text = handle.connection.saveImageGetXMLDesc(target.memory_file, _SAVE_SECURE)
            definition = parse_of(handle.native, text)
        going_on = list(with_disks_of_now(handle, target.name, definition, on_others))
    try:
        check_ready(handle.name, handle.connection, definition, user, replaced=on_others, cold=cold)
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


def _check_inside_ready(handle: VmHandle, target: Saved, final: str) -> None:
    """Raise where a VM could not start with the definition of a snapshot inside its images, which libvirt takes for that."""
    domain = target.xml.find("domain")
    if final == _OFF or domain is None:
        return
    with translated(handle.name, "asking which user QEMU runs as"):
        user = QemuUser.of(handle.connection, handle.xml())
    check_ready(handle.name, handle.connection, domain, user, replaced=(), cold=target.memory != "internal")
    check_layers(handle.name, image_disks(domain))


def _check_states(handle: VmHandle, target: Saved) -> dict[str, list[Image]]:
    """Return the chain of each disk's state. Raises ``chain_mismatch`` or ``file_missing``."""
    check_chains(handle)
    states = {}
    for part in target.disks:
        try:
            states[part.target] = read_chain(part.frozen, part.format)
        except (OSError, ValueError) as error:
            raise unreadable(handle.name, target.name, part, error) from error
    return states


def _memory_notes(handle: VmHandle, target: Saved, final: str) -> tuple[str, ...]:
    if target.memory_file is None:
        return ()
    if final == _OFF:
        return ("its memory is not loaded, since the VM stays off",)
    if not os.path.exists(target.memory_file):
        raise file_missing(handle.name, target.name, f"its memory {target.memory_file} is gone", [target.memory_file])
    return clock_foreseen(handle.name, target.created_at, final, has_agent_channel(handle.definition()))


def _overlay(handle: VmHandle, name: str, part: SavedDisk) -> SnapshotDisk:
    homes = [os.path.dirname(os.path.realpath(file)) for file in (part.overlay or part.frozen, part.frozen)]
    directory = next((one for one in homes if os.path.isdir(one) and not holds_no_images(one)), homes[0])
    if holds_no_images(directory):
        raise on_a_device(handle.name, part.target, part.overlay or part.frozen)
    check_writable(handle.name, directory)
    named, stem = named_by(handle.saved()), file_name(handle.name, part.target, name)
    path = unused_path((), directory, stem, ".qcow2", named=named)
    return SnapshotDisk(part.target, path, "qcow2", None, part.frozen)
