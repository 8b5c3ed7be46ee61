# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Removing a snapshot: note its layers, begin to merge, forget it, settle the layers, verify.

It is forgotten as soon as its state begins to be written to, and never after: nobody can revert to a mixture. Several whose
layers go down in one merge are removed at once: their data moves once. What was noted first lets any later run go on from
wherever this one ended. The same steps on every libvirt; its own delete (since 9.0) is not used, because it knows no branches,
and starts a QEMU to merge layers of a VM that is off. Only snapshots inside images are left to it.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.chain_checks import (
    check_chains,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.libvirt_errors import (
    translated,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.layer_forest import Forest
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.note_frozen_images import (
    looked_at,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.file_deletion import others_of
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.firmware.state_file import (
    is_ours,
    noted_copies,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.any_format_backing import (
    is_based_on,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.real_paths import real_path
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.inspection import Inspected, inspected
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.merge.live_commit import (
    follow_commit,
    has_job,
    is_commit,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.merge.merge_layers import (
    carry_out,
    see_merged,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.merge.moved_disks import (
    keep_left,
    refuse_older,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.snapshot_rewrite import (
    forget,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.operations.operation import (
    Operation,
    close_record,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.operations.remove_plan import (
    PlannedRemoval,
    RemoveWish,
    plan_remove,
    refuse_held,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.refusals import changed_meanwhile
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.running_jobs import (
    refuse_block_jobs,
    refuse_writers,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.meeting import boot_id
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.journal import RemoveJournal, now
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.image_changes import being_written
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.layer_steps import Layers, steps
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.plan import Done, Recovery, RemovalPlan
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import named_snapshots


class Remove(Operation[RemoveWish, RemovalPlan, RemoveJournal]):
    """The removal of a snapshot of a VM, or of several at once; a later run may go on with it."""

    kind = RemoveJournal.kind
    _begun = _forgotten = False
    _late: tuple[str, ...] = ()  # notes on what came up in the middle

    def _plan(self, vm: Inspected, wish: RemoveWish) -> RemovalPlan:
        """Decide the removal of one or several. Raises as `Hypervisor.plan_remove` says."""
        return plan_remove(self._handle, vm, wish)

    def _run(self, plan: RemovalPlan) -> Done:
        """Remove the plan's snapshots. Raises as `Hypervisor.remove` says."""
        if not isinstance(plan, PlannedRemoval):
            raise TypeError("a plan that another backend has made")
        handle, (snapshot, *others) = self._handle, plan.snapshots
        self._require_as_planned(plan)
        going = [one for one in plan.every if one.name in plan.names]
        before, record, forest = handle.keep_record(), looked_at(plan.record, plan.every), plan.forest
        for one in (one for one in going if one.kind == "internal"):
            self._remove_internal(one.name)
            inside = {real_path(part.frozen) for part in one.disks}
            record, forest = replace(record, images=being_written(record.images, inside)), None
        memory = tuple(one.memory_file for one in going if one.memory_file)
        was = dict(reversed(plan.tops))  # what it runs on; a disk may be defined otherwise for the next start
        begun = RemoveJournal(snapshot.name, snapshot.created_at, now(), memory, was=was, boot_id=boot_id())
        also = tuple((one.name, one.created_at) for one in others)
        journal = replace(begun, also=also, may_adjust=handle.may_adjust, bandwidth=self._pace.bandwidth)
        handle.write(replace(record, journal=journal, active={}), durable=True)  # it is on other files when it ends
        try:
            after = self._go_on(journal, forest, plan.names)
        except KvmError as error:
            # Of a call that libvirt did not live to answer nobody knows whether it began.
            if not self._begun and error.error_code != "connection_lost":
                handle.put_back_record(before)
            raise
        return Done((*plan.notes, *self._late), vm=after)

    def _require_as_planned(self, plan: PlannedRemoval) -> None:
        """Raise ``busy`` where the disks are not as the plan has them: planning may take a minute where room is scarce."""
        handle, forest = self._handle, plan.forest
        with handle.seen_once():
            moved = tuple(handle.tops()) != plan.tops
            turned = forest is not None and handle.active() != forest.running
        if moved or turned or (forest and self._is_built_upon(forest.layers)):
            raise changed_meanwhile(handle.name)

    def _is_built_upon(self, layers: Layers) -> bool:
        """Whether an overlay is based on a state that may be merged into, and was not when the removal was planned."""
        files = self._handle.around().files
        files.look_into({os.path.dirname(file) for file in layers.released})
        return any(
            one not in layers.backing and is_based_on(one, file)
            for file in layers.released
            for one in files.above(file, layers.backing)
        )

    def _resume(self, journal: RemoveJournal) -> Recovery:
        """Go on where an interrupted run ended."""
        handle = self._handle
        handle.may_adjust = handle.may_adjust or journal.may_adjust
        ours = self._refuse_others(journal)
        left = refuse_older(handle, journal)
        keep_left(handle, left)
        self._pace = replace(self._pace, bandwidth=self._pace.bandwidth or journal.bandwidth)
        followed = [target for target in ours if follow_commit(handle, target, ours[target], self._pace.deadline)]
        if journal.merging:
            forest = handle.survey(without=self._going(journal))
            lost = journal.boot_id != boot_id()
            see_merged(handle, forest, journal.merging, left, self._pace, lost=lost, seen=bool(followed))
        if not handle.active():
            refuse_writers(handle.name, handle.xml())
        going = self._going(journal)
        forest = handle.survey(without=going)
        refuse_held(handle, steps(forest.copy().layers))
        self._go_on(journal, forest, going)
        said = (f"Finished the interrupted removal of {named_snapshots(journal.names)}", *self._late)
        return Recovery("; ".join(said) + ".")

    def _check_resume(self, journal: RemoveJournal) -> None:
        handle, merging = self._handle, self._refuse_others(journal)
        refuse_older(handle, journal)
        if not handle.active():
            refuse_writers(handle.name, handle.xml())
        if not any(has_job(handle, target) for target in merging):  # else nobody knows what is left then
            refuse_held(handle, steps(handle.survey(without=self._going(journal)).layers))

    def _refuse_others(self, journal: RemoveJournal) -> dict[str, bool]:
        """Return the disks, by target, on which the merge of an earlier run may go on, and whether it has to be pivoted.

        Raises ``block_job_active`` where a job runs on another disk: that is somebody else's to end.
        """
        if not self._handle.active():
            return {}
        forest, merged = self._handle.survey(), [real_path(file) for file in journal.merging[:1]]
        ours = {target: [top] == merged for target, top in forest.tops.items() if {*merged} & {*forest.chain(top)}}
        ours = {target: pivots for target, pivots in ours.items() if is_commit(self._handle, target)}
        refuse_block_jobs(self._handle, but=ours)
        return ours

    def _go_on(self, journal: RemoveJournal, forest: Optional[Forest], going: tuple[str, ...]) -> Inspected:
        """Merge and drop what is not needed without the snapshots that are ``going``; return the VM as it is then.

        ``forest`` are its layers where they have just been read.
        """
        handle = self._handle
        forest = forest or handle.survey(without=going)
        carry_out(handle, forest, True, self._pace, lambda: self._forget(going))
        self._forget(going)
        self._late = forest.late_notes()
        with handle.seen_once() as seen:
            handle.agree(forest, {})
            handle.unlink(file for file in journal.memory_files if not self._is_named(file))
            copies = [copy for one in journal.all for copy in noted_copies(handle.record(), *one).values()]
            handle.unlink(copy.file for copy in copies if is_ours(copy))
            check_chains(handle)
            close_record(handle)
            return inspected(handle, seen)

    def _going(self, journal: RemoveJournal) -> tuple[str, ...]:
        """Return the snapshots' names; without one that is another snapshot's by now, taken since a run was killed."""
        listed = {one.name: one.created_at for one in self._handle.saved()}
        return tuple(name for name, created_at in journal.all if created_at in (None, listed.get(name, created_at)))

    def _forget(self, names: tuple[str, ...]) -> None:
        self._begun = True
        if not self._forgotten:
            with translated(self._handle.name, "removing libvirt's metadata of the snapshot"):
                for name in names:
                    forget(self._handle.native, name)
            self._forgotten = True

    def _is_named(self, file: str) -> bool:
        return bool(others_of(self._handle.around(), file)) or any(
            one.memory_file == file for one in self._handle.saved()
        )

    def _remove_internal(self, name: str) -> None:
        handle = self._handle
        handle.agree(handle.survey(), {})  # before 11.3's delete is asked, one must be current
        with translated(handle.name, "removing the snapshot inside its images"):
            if any(one.getName() == name for one in handle.native.listAllSnapshots(0)):
                handle.native.snapshotLookupByName(name, 0).delete(0)
