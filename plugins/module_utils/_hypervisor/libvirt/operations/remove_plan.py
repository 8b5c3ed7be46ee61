# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Deciding the removal of snapshots, and refusing what must not begin, without touching the VM."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.chain_checks import (
    check_chains,
    check_frozen,
    refuse_spoiling,
    refuse_unresolved,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.libraries import (
    require_qemu_img,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.image_header import read_image
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.judge_frozen_images import (
    leads_elsewhere,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.layer_forest import Forest
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.merge_space import (
    merges,
    require_room,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.unused_overlays import leftovers
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.file_deletion import memory_files
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.files_in_use import (
    refuse_open,
    refuse_under_passing,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.firmware.state_file import (
    going_copies,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.any_format_backing import (
    UNREADABLE,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.file_identity import (
    is_device,
    noted_as,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.real_paths import real_path
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.users.absent_disks import (
    absence,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.merge.confinement import (
    below_the_tops,
    foresee,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.saved_snapshot import (
    Saved,
    SavedDisk,
    states_of,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.operations.same_disks import (
    check_removable_inside,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.read_only_files import (
    refuse_read_only,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.running_jobs import check_idle
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.starting.can_start import (
    Starting,
    check_definable,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.storage_findings import set_aside
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.vm_handle import VmHandle
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.vm_record import Record
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.layer_steps import Drop, Merge, Step, gone, steps
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.merged import cost, in_turn, together
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.refusals import mixed_chain
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.plan import RemovalPlan
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import Snapshot
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.storage import Leftover
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import VirtualMachine


@dataclass(frozen=True)
class RemoveWish:
    """Snapshots that are to go, leaf first; ``orphans`` are files that will have been deleted by then."""

    snapshots: tuple[Snapshot, ...]
    orphans: tuple[str, ...] = ()


@dataclass(frozen=True)
class PlannedRemoval(RemovalPlan):
    """A plan with what it was made of: ``every`` snapshot as libvirt keeps it, the ``tops`` that disks are on, the VM's layers
    as they are without the snapshots that go, and the record that goes with that.
    """

    every: tuple[Saved, ...] = ()
    tops: tuple[tuple[str, str], ...] = ()
    forest: Optional[Forest] = None
    record: Record = field(default_factory=Record)


def plan_remove(handle: VmHandle, vm: VirtualMachine, wish: RemoveWish) -> PlannedRemoval:
    """Return the plan. Raises as `Hypervisor.plan_remove` says."""
    check_idle(handle, vm)
    snapshots = wish.snapshots
    names = {one.name for one in snapshots}
    every = handle.saved()
    going = [one for one in every if one.name in names]
    refuse_unresolved(handle.name, every)
    for one in going:
        if one.kind == "mixed":
            raise mixed_chain(handle.name, f"snapshot {one.name!r} is partly inside its images and partly not")
    check_removable_inside(handle, going)
    if not vm.active:  # it is put on other images
        check_definable(handle.name, Starting(handle.connection, handle.definition()))
    check_chains(handle)
    check_frozen(handle, every)
    record = noted(set_aside(handle, every), going, every)
    forest = handle.survey(names, record, set(wish.orphans))
    for orphan in forest.layers.backing.keys() & set(wish.orphans):
        forest.layers.done(Drop(orphan))
    forest.layers.fixed -= _emptied(forest, going)
    notes = [*_notes(forest, going), *_elsewhere(record, going)]
    after = forest.copy()
    in_qemu = {file for top in forest.tops.values() for file in forest.chain(top)} if forest.running else set()
    found = steps(after.layers)
    if any(isinstance(step, Merge) and not in_qemu.issuperset((*step.gone, *step.above)) for step in found):
        require_qemu_img(handle.name)
    refuse_spoiling(handle.name, forest.images, every, {file for step in found for file in _written(step)})
    require_room(handle.name, forest.images, found)
    memory, needed = memory_files(handle.around(), going)
    copies, told = going_copies(handle.record(), [(one.name, one.created_at) for one in going])
    notes += _not_seen(handle, forest, found)
    refuse_under_passing(handle, forest, found)
    refuse_held(handle, found, (*memory, *copies))
    adjusted = foresee(handle, below_the_tops(forest, found))
    files = tuple(forest.spelled.get(file, file) for file in gone(found) if not is_device(file))
    states = states_of(every, [one.name for one in snapshots])
    kept = _kept(handle.name, after, every, names, set().union(*states))
    groups = together(states, found)
    copied, needs = cost(merges(forest.images, in_turn(forest.layers, states, groups)))
    return PlannedRemoval(
        vm=vm,
        snapshots=snapshots,
        dropped=(*files, *memory, *copies),
        notes=(*notes, *needed, *told, *adjusted, *map(str, kept)),
        kept=kept,
        copied=copied,
        needs=needs,
        together=tuple(tuple(snapshots[number] for number in group) for group in groups),
        every=tuple(every),
        tops=tuple(handle.tops()),
        forest=None if wish.orphans else forest,  # they are on the disks still
        record=record,
    )


def _emptied(forest: Forest, going: Sequence[Saved]) -> set[str]:
    """Return the images that disks are on and that hold no snapshot inside any more, once those that go are gone."""
    inside = Counter(real_path(part.frozen) for one in going if one.kind == "internal" for part in one.disks)
    on = forest.layers.active.intersection(forest.images).difference(forest.why)
    return {file for file in on if file in inside and inside[file] == forest.images[file].snapshots}


def _kept(
    vm: str, forest: Forest, every: list[Saved], names: Collection[str], states: Collection[str]
) -> tuple[Leftover, ...]:
    """Return the overlays that no snapshot that stays names, or needs any more, and that stay all the same."""
    found = leftovers(vm, forest, every)
    return tuple(one for one in found if one.snapshot is None or one.snapshot in names or one.file in states)


def _written(step: Step) -> tuple[str, ...]:
    return (*step.gone, step.base) if isinstance(step, Merge) else ()


def refuse_held(handle: VmHandle, found: Sequence[Step], going: Iterable[str] = ()) -> None:
    """Raise ``file_in_use`` or ``file_read_only`` where a layer that is about to be merged or dropped, or another file that is
    ``going``, is in use by others or cannot be written to.
    """
    refuse_open(handle, found, going)
    merged = {file for step in found if isinstance(step, Merge) for file in (*_written(step), *step.above)}
    refuse_read_only(handle.name, merged, (*gone(found), *going), handle.around().files.mounts)


def noted(record: Record, going: list[Saved], every: list[Saved]) -> Record:
    """Return the record with the layers of snapshots that go; ``every`` are all that there are.

    Their overlays may be deleted from now on, and their states merged into; no other image ever is, nor what took their place.
    """
    overlays = {real_path(overlay) for one in going for overlay in one.overlays}
    below = {real_path(part.frozen) for one in every for part in one.disks}
    below.update(map(real_path, record.former))
    overlays |= {real_path(part.frozen) for one in going for part in one.disks if _is_since(part, below)}
    there = [one for one in going if not leads_elsewhere(record, one)]
    former = {noted_as(part.frozen) for one in there for part in one.disks if part.overlay}
    return replace(
        record,
        overlays=tuple(sorted({*record.overlays, *overlays})),
        former=tuple(sorted({*record.former, *former})),
    )


def _is_since(part: SavedDisk, states: Collection[str]) -> bool:
    """Whether a state lies directly on another one, also of a snapshot that is gone: then it began as an overlay.

    Libvirt's own revert makes such, and no snapshot names one any more that another overlay has taken the place of.
    """
    try:
        backing = read_image(part.frozen, part.format).backing_file
    except UNREADABLE:
        return False
    return backing is not None and real_path(backing) in states


def _notes(forest: Forest, going: list[Saved]) -> tuple[str, ...]:
    notes = []
    for one in going:
        for disk in one.elsewhere:
            state = f"its frozen image is of type '{disk.type}'"
            notes.append(f"the overlay of {disk.target} stays, because {state}, and such an image is never written to")
        for part in one.disks:
            state = real_path(part.frozen)
            why = forest.why.get(state, "it holds snapshots inside")
            if part.overlay and state in forest.layers.fixed and state not in forest.detached:
                notes.append(f"{part.frozen} stays a layer of its own, because {why}")
    return tuple(notes)


def _not_seen(handle: VmHandle, forest: Forest, found: list[Step]) -> Iterator[str]:
    """Tell of other VMs' disks that are not there now where one may be based on an image that is merged into."""
    users, mounts = handle.around().users, handle.around().files.mounts
    absent = {file: str(user) for file, user in users.absent.items() if user.uuid != handle.id.uuid}
    bases = {forest.spelled[step.base] for step in found if isinstance(step, Merge)}
    return absence(absent, bases, mounts)


def _elsewhere(record: Record, going: list[Saved]) -> Iterator[str]:
    for one in going:
        for file in leads_elsewhere(record, one):
            yield f"{file} stays: snapshot {one.name!r} is in it, and names it by a path that leads to another file now"
