# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reverting to a snapshot: new overlays on its states, stop, define, start, note, drop what was written since.

Until the VM is stopped everything can be undone; from then on it is finished, by this run or the next. Where the VM does not
start it goes back to where it was: what was written since is dropped after the start only. The same steps on every libvirt:
its own revert (since 9.9) refuses some snapshots, loses the configuration made since, and deletes by what its notes say. Only
to a snapshot inside the images libvirt itself reverts. Memory is loaded as from a save image: that is what an external memory
file is.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from typing import Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.libraries import etree
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.note_frozen_images import (
    made_of,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.firmware.put_back import close
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.guest.clock import clock_set
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.real_paths import real_path
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.inspection import Inspected
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.merge.merge_layers import carry_out
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.saved_snapshot import Saved
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.operations.operation import (
    Operation,
    close_record,
    remove_unused,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.operations.revert_plan import (
    RevertWish,
    keeping,
    plan_revert,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.operations.same_disks import (
    is_elsewhere,
    is_on,
    is_stopping,
    is_used_since,
    keep_where_others_decide,
    last_writes,
    leave_firmware,
    may_lack,
    was_used,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.operations.start_or_go_back import (
    firmware_back,
    go_back,
    make_overlays,
    put_firmware_back,
    revert_internal,
    start,
    start_failed,
    stop,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.refusals import (
    not_on_new,
    started_meanwhile,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.journal import (
    RevertJournal,
    RevertPhase,
    now,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.devices import image_disks
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.firmware_states import NVRAM, TPM
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.plan import Done, Recovery, RevertPlan

_OFF = "shutoff"
_FINISHED = "Finished the interrupted revert to snapshot {!r}."
_USED = " Somebody has used the VM since, so it stays as it is."
_RAN = (
    " The VM ran by then. If somebody started it by hand, it runs without the snapshot's memory, UEFI variables or TPM."
)


class Revert(Operation[RevertWish, RevertPlan, RevertJournal]):
    """The revert of one VM; a later run may go on with it, or undo it where the VM was not stopped yet."""

    kind = RevertJournal.kind
    _kept: Optional[tuple[Optional[bytes]]] = None  # the record as it was, where this run has begun the revert
    _definition = ""

    def _plan(self, vm: Inspected, wish: RevertWish) -> RevertPlan:
        """Decide it. Raises as `Hypervisor.plan_revert` says."""
        return plan_revert(self._handle, vm, wish)

    def _run(self, plan: RevertPlan) -> Done:
        """Revert. Raises as `Hypervisor.revert` says."""
        handle, name = self._handle, plan.snapshot.name
        target = handle.snapshot(name)
        if target.kind == "internal":
            revert_internal(handle, target, plan.power)
            return Done(plan.notes)
        journal = self._journal(plan, target)
        kept = keeping(handle, handle.saved(), plan.snapshot).kept
        self._kept = (handle.keep_record(),)
        try:
            self._begin(journal, target, kept)
            journal = replace(journal, phase=RevertPhase.SWITCHING)
            self._commit(journal)
            if not plan.vm.active and handle.active():
                raise started_meanwhile(handle.name)
            stop(handle, journal)
        except KvmError as error:
            # Without libvirt nobody knows whether it was stopped, nor of one that was killed when it ends: the next run looks.
            if error.error_code != "connection_lost" and not is_stopping(handle):
                self._forget(journal)
            raise
        return Done((*plan.notes, *self._finish(journal, target)))

    def _journal(self, plan: RevertPlan, target: Saved) -> RevertJournal:
        overlays = {part.target: str(part.file) for part in plan.overlays}
        definition = self._handle.definition()
        before = {disk.target: (str(disk.source), disk.format) for disk in image_disks(definition)}
        firmware, _told = firmware_back(self._handle, definition, target, plan.power)
        return RevertJournal(
            plan.snapshot.name,
            plan.snapshot.created_at,
            now(),
            overlays=overlays,
            power=plan.power,
            was={target: before[target] for target in overlays if target in before},
            was_power=plan.vm.power if plan.vm.active else _OFF,
            nvram=firmware.get(NVRAM),
            tpm=firmware.get(TPM),
        )

    def _begin(self, journal: RevertJournal, target: Saved, kept: tuple[str, ...]) -> None:
        handle, record = self._handle, self._handle.record()
        # Noted as ours before they are made: what becomes of them is settled like any other layer then.
        overlays = (*record.overlays, *map(real_path, journal.overlays.values()))
        # Where its disks were is thrown away, as the task says. What others are on stays noted: somebody may put them elsewhere.
        active = {target: file for target, file in record.active.items() if target not in journal.overlays}
        handle.write(replace(record, overlays=overlays, kept=kept, active=active, journal=journal), durable=True)
        make_overlays(handle, target, journal.overlays)

    def _commit(self, journal: RevertJournal) -> None:
        record = self._handle.record()
        made = {**record.made, **made_of(journal.overlays)}
        self._handle.write(replace(record, journal=journal, made=made), durable=True)

    def _note(self, journal: RevertJournal) -> None:
        self._handle.write(replace(self._handle.record(), journal=journal), durable=True)

    def _forget(self, journal: RevertJournal) -> None:
        """Remove what was made for a revert that did not begin; the next run does where that cannot be made sure of."""
        handle = self._handle
        with suppress(KvmError):
            self._note(replace(journal, phase=RevertPhase.PREPARING))
            if self._kept is None:
                self._drop()
            else:
                remove_unused(handle, journal.overlays.values())
                handle.never_was(journal.overlays.values())
                handle.put_back_record(*self._kept)

    def _resume(self, journal: RevertJournal) -> Recovery:
        """Finish or undo what an interrupted run left, and say which."""
        handle, name = self._handle, journal.snapshot
        named = next((one for one in handle.saved() if one.name == name), None)
        target = named if named and journal.created_at in (None, named.created_at) else None
        on_new, phase = is_on(handle, journal), journal.phase
        if phase is RevertPhase.DROPPING:
            return self._resume_dropping(journal, on_new)
        stays = handle.active() or is_elsewhere(handle, journal) or was_used(handle, journal)
        stays = stays or not all(map(os.path.exists, journal.overlays.values()))
        if target is None or phase is RevertPhase.PREPARING or (stays and not on_new):
            # Not stopped yet, or somebody has used it since, or deleted what it was to go to: what it is on is what counts.
            keep_where_others_decide(handle, journal)
            told = leave_firmware(handle, journal)
            self._drop()
            return Recovery(f"Undid the interrupted revert to snapshot {name!r}.{told}", finished=False)
        active = handle.active()
        if on_new and (may_lack(handle, journal, target) if active else is_used_since(journal)):
            self._end(journal)  # saved memory belongs to other disks by now
            return Recovery(_FINISHED.format(name) + (_RAN if active else _USED), finished=False)
        notes = self._finish(journal, target)
        return Recovery(_FINISHED.format(name) + "".join(f" The revert: {note}." for note in notes))

    def _resume_dropping(self, journal: RevertJournal, on_new: bool) -> Recovery:
        """The VM was where it was to be: what it is on by now, and whether it runs, is what somebody means."""
        if not on_new:
            keep_where_others_decide(self._handle, journal)
        self._end(journal)
        is_there = on_new and (self._handle.active() or journal.power == _OFF)
        said = "" if is_there else " Somebody has changed its disks or its power since, so it stays as it is."
        return Recovery(_FINISHED.format(journal.snapshot) + said, finished=is_there)

    def _end(self, journal: RevertJournal) -> None:
        self._note(replace(journal, phase=RevertPhase.DROPPING))
        close(journal.returning)
        self._drop()

    def _drop(self) -> None:
        """Drop what is not needed as things are, and end the revert."""
        handle = self._handle
        forest = handle.survey()
        carry_out(handle, forest, False, self._pace, lambda: None)
        with handle.seen_once():
            handle.agree(forest, {})
            close_record(handle)

    def _finish(self, journal: RevertJournal, target: Saved) -> tuple[str, ...]:
        """Bring the VM there; return what is to be told of its clock, where its memory was loaded."""
        handle = self._handle
        if not (handle.active() and is_on(handle, journal)):
            stop(handle, journal)
            journal = replace(journal, left=last_writes(journal))
            self._note(journal)
            self._define(journal)
        self._verify(journal)
        failed = put_firmware_back(handle, journal)
        if not (failed or handle.active() or journal.power == _OFF):
            failed = start(handle, journal, target)
        if failed and journal.was:
            error = go_back(handle, journal, failed, self._definition)
            self._forget(journal)
            raise error
        self._end(journal)
        if failed:
            raise start_failed(handle.name, failed)
        if target.memory_file is None or journal.power == _OFF:
            return ()
        return clock_set(handle.name, handle.native, handle.definition(), target.created_at, journal.power)

    def _define(self, journal: RevertJournal) -> None:
        """Define the VM on the new overlays; undo that where somebody has started it on the old ones meanwhile."""
        handle = self._handle
        definition = handle.definition()
        before = {disk.target: (str(disk.source), disk.format) for disk in image_disks(definition)}
        if all(before.get(target) == image for target, image in journal.was.items()):
            self._definition = etree.tostring(definition, encoding="unicode")
        handle.define({disk: (overlay, "qcow2") for disk, overlay in journal.overlays.items()})
        if handle.active() and not is_on(handle, journal):
            handle.define({target: before[target] for target in journal.overlays})
            self._drop()
            handle.never_was(journal.overlays.values())
            raise started_meanwhile(handle.name)

    def _verify(self, journal: RevertJournal) -> None:
        if not is_on(self._handle, journal):
            raise not_on_new(self._handle.name)
