# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Deciding a revert, and refusing what must not begin: all that can be checked is, before the VM is stopped."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.chain_checks import (
    check_chains,
    frozen_written,
    refuse_spoiling,
    refuse_unresolved,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.libraries import (
    require_qemu_img,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.backing_chain import read_chain
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.image_header import Image
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.unused_overlays import (
    left_at_the_stop,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.firmware.put_back import differs
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.firmware.state_file import (
    noted_copies,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.file_identity import (
    holds_no_images,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.real_paths import real_path
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.saved_snapshot import (
    Saved,
    SavedDisk,
    named_by,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.operations.reverting.dropped import (
    what_goes,
    what_stays,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.operations.reverting.inside_images import (
    check_internal,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.operations.reverting.start_checks import (
    check_start,
    check_start_inside,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.operations.same_disks import (
    check_same_disks,
    is_needed,
    resizes,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.operations.start_or_go_back import (
    firmware_back,
    power_afterwards,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.operations.take_plan import (
    unused_path,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.refusals import (
    on_a_device,
    unreadable,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.running_jobs import (
    backup_notes,
    check_idle,
    refuse_checkpoints,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.starting.can_start import (
    check_writable,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.storage_findings import set_aside
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.vm_handle import VmHandle
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.vm_record import Record
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.devices import (
    Disk,
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
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.plan import RevertPlan
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import Snapshot, SnapshotDisk
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import VirtualMachine

_OFF = "shutoff"


@dataclass(frozen=True)
class RevertWish:
    """The snapshot to go back to, and the power that the VM is to have then (or ``restore``).

    With ``kept_now`` a snapshot of what the VM has now is taken first.
    """

    snapshot: Snapshot
    power: str
    kept_now: bool = False


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
        check_start_inside(handle, target, final)
        return RevertPlan(vm, snapshot, (), (), final)
    require_qemu_img(vm.name)
    states = _check_states(handle, target)
    record = keeping(handle, every, snapshot)
    forest = handle.survey(record=record)
    refuse_spoiling(vm.name, forest.images, every, {real_path(one.file) for chain in states.values() for one in chain})
    overlays = tuple(_overlay(handle, target.name, part) for part in target.disks)
    resized = tuple(resizes(forest, states))
    firmware, told = firmware_back(handle, handle.definition(), target, final)
    notes = (*_memory_notes(handle, target, final), *told, *map(str, resized), *backup_notes(handle))
    changes = bool(resized) or differs(firmware, noted_copies(handle.record(), target.name, target.created_at))
    if not changes and not is_needed(vm, snapshot, forest, target, final):
        return RevertPlan(vm, snapshot, (), (), final, False, notes)
    before = forest.copy()
    dropped = what_goes(handle, forest, record, target.disks, wish.kept_now)
    kept = what_stays(vm.name, before, forest, record, every=every, overlays=overlays)
    later = {name: str(disk.source) for name, disk in defined.items()}
    kept = (*kept, *left_at_the_stop(vm.name, forest, _left_by_the_stop(handle, snapshot), later))
    notes = (*notes, *check_start(handle, target, final, overlays), *map(str, kept))
    return RevertPlan(vm, snapshot, overlays, dropped, final, True, notes, kept, resized)


def keeping(handle: VmHandle, every: Sequence[Saved], snapshot: Snapshot) -> Record:
    """Return the VM's record, with the overlays that must not go although a revert would drop them.

    Where the task accepts an image that others changed, the VM may be on that very image: somebody committed its overlay down,
    or put back an older definition. Nobody can tell which, so an overlay that may have the newest data stays.
    So does one that a running VM writes to by a disk outside the snapshot that it will not be on after the stop: it was attached
    for this run only, or has another image from the next start on. Raises as `check_frozen` does where nothing was accepted.
    """
    record, errors = set_aside(handle, every), list(frozen_written(handle, every))
    record = replace(record, kept=tuple(sorted({*record.kept, *_left_by_the_stop(handle, snapshot)})))
    for error in errors:
        if error.error_code != "definition_changed" or snapshot.past != CHANGED:
            raise error
    if not errors:
        return record
    aside = handle.survey().unneeded()
    return replace(record, kept=tuple(sorted({*record.kept, *aside})))


def _left_by_the_stop(handle: VmHandle, snapshot: Snapshot) -> dict[str, Disk]:
    if not handle.active():
        return {}
    covered = {part.target for part in snapshot.disks}
    defined = {real_path(str(disk.source)) for disk in image_disks(handle.definition())}
    now_on = {real_path(str(disk.source)): disk for disk in image_disks(handle.xml()) if disk.target not in covered}
    return {file: disk for file, disk in now_on.items() if file not in defined}


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
