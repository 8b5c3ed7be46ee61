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
import shlex
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.checks import (
    check_chains,
    check_idle,
    frozen_written,
    refuse_spoiling,
    refuse_unresolved,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.connection import (
    translated,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.library import (
    etree,
    parse,
    require_qemu_img,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.volumes import unresolved
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.image import (
    Image,
    create_overlay,
    is_empty,
    read_chain,
    read_image,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.leftovers import leftovers
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.survey import Forest
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.identity import identity
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.open_files import is_device
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.qemu_user import (
    QemuUser,
    keeps_owner,
    of_unlabelled,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.merge.steps import settle
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.saved import (
    Saved,
    SavedDisk,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.operations.remove import close_record
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.operations.restart import (
    go_back,
    is_on,
    start,
    start_failed,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.operations.take import remove_unused
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.operations.take_plan import (
    unused_path,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.ready import (
    check_images,
    check_overlay_directory,
    check_ready,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.vm import DomainHandle
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.journal import Journal, now
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.record import Made, Record
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml import Disk, image_disks
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.layers import gone, steps
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.names import file_name
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.past import CHANGED
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.refusals import (
    disk_replaced,
    disks_changed,
    file_missing,
    mixed_chain,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.deadline import Pace
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.plan import Recovery, Resize, RevertPlan
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import Snapshot, SnapshotDisk
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import VirtualMachine

_SAVE_SECURE = 1  # virDomainSaveImageXMLFlags
_REVERT_RUNNING, _REVERT_PAUSED, _REVERT_FORCE = 1, 2, 4  # virDomainSnapshotRevertFlags
_STOP_SECONDS = 30.0
_RUNNING, _PAUSED, _OFF = "running", "paused", "shutoff"


def plan_revert(handle: DomainHandle, vm: VirtualMachine, snapshot: Snapshot, power: str) -> RevertPlan:
    """Return the plan. Raises as `Hypervisor.plan_revert` says."""
    check_idle(handle, vm)
    target = handle.snapshot(snapshot.name)
    every = handle.saved()
    refuse_unresolved(vm.name, every)
    final = _final(vm, power)
    if target.kind == "mixed":
        raise mixed_chain(vm.name, f"snapshot {target.name!r} is partly inside its images and partly not")
    disks = {disk.target: disk for disk in image_disks(handle.xml())}
    made = {os.path.realpath(file) for one in handle.saved() for file in one.overlays}
    _check_disks(vm.name, target, disks, made.union(handle.record().overlays, handle.record().made))
    if target.kind == "internal":
        _check_internal(handle, target, disks)
        return RevertPlan(vm, snapshot, (), (), final)
    require_qemu_img(vm.name)
    states = _check_states(handle, target)
    record = _keeping(handle, every, snapshot)
    forest = handle.survey(record=record)
    under = {os.path.realpath(image.file) for chain in states.values() for image in chain}
    refuse_spoiling(vm.name, forest.images, every, under)
    overlays = tuple(_overlay(handle, target.name, part) for part in target.disks)
    resized = tuple(_resized(forest, states))
    notes = (*_memory_notes(vm.name, target, final), *map(str, resized))
    if not resized and not _is_needed(vm, snapshot, forest, target, final):
        return RevertPlan(vm, snapshot, (), (), final, False, notes)
    dropped = _dropped(forest, target)
    kept = tuple(
        one
        for one in leftovers(vm.name, forest, every)
        if one.snapshot is None or one.why == "detached" or one.file in record.kept
    )
    _check_ready(handle, target, final, overlays)
    return RevertPlan(vm, snapshot, overlays, dropped, final, True, (*notes, *map(str, kept)), kept, resized)


def _keeping(handle: DomainHandle, every: Sequence[Saved], snapshot: Snapshot) -> Record:
    """Return the VM's record, with the overlays that must not go although a revert would drop them.

    Where the task accepts an image that others changed, the VM may be on that very image: somebody committed its overlay down,
    or put back an older definition. Nobody can tell which, so an overlay that may have the newest data stays.
    Raises as `check_frozen` does where nothing was accepted.
    """
    record, errors = handle.record(), list(frozen_written(handle, every))
    for error in errors:
        if error.error_code != "definition_changed" or snapshot.past != CHANGED:
            raise error
    if not errors:
        return record
    aside = handle.survey().unneeded()
    return replace(record, kept=tuple(sorted({*record.kept, *aside})))


def _resized(forest: Forest, states: Mapping[str, Sequence[Image]]) -> Iterator[Resize]:
    for target, chain in states.items():
        now_on = forest.images.get(forest.tops.get(target, ""))
        if now_on and now_on.virtual_size != chain[0].virtual_size:
            yield Resize(target, now_on.virtual_size, chain[0].virtual_size)


def _check_ready(handle: DomainHandle, target: Saved, final: str, overlays: tuple[SnapshotDisk, ...]) -> None:
    """Raise where the VM could not start on the snapshot: all that its next start needs is looked for before it is stopped."""
    definition = handle.definition()
    with translated(handle.name, "asking as whom QEMU runs"):
        user = QemuUser.of(handle.connection, handle.xml())
    for overlay in overlays:
        check_overlay_directory(handle.name, os.path.dirname(str(overlay.file)), user)
    if final == _OFF:
        return
    cold = target.memory_file is None
    if not cold:
        with translated(handle.name, "reading the saved memory"):
            definition = parse(handle.connection.saveImageGetXMLDesc(target.memory_file, _SAVE_SECURE))
    on_others = {overlay.target for overlay in overlays}
    check_ready(handle.name, handle.connection, definition, user, replaced=on_others, cold=cold)
    for part in target.disks:
        states = [image.file for image in read_chain(part.state, part.format)]
        check_images(handle.name, part.target, states, user, relabelled=not keeps_owner(definition, part.target))


def _final(vm: VirtualMachine, power: str) -> str:
    if power != "restore":
        return power
    return vm.state if vm.state in (_RUNNING, _PAUSED) else _OFF


def _check_disks(vm: str, target: Saved, disks: dict[str, Disk], overlays: Collection[str]) -> None:
    """Raise ``disks_changed`` where the VM has not the disks that it had; ``overlays`` are all that were made of its disks."""
    then = {disk.target for disk in target.domain_disks if disk.source and disk.device in ("disk", "lun")}
    covered = {part.target for part in target.disks}
    removed = sorted(covered - disks.keys())
    added = [name for name in sorted(disks.keys() - then) if not disks[name].readonly]
    if removed or added:
        raise disks_changed(vm, target.name, removed, added)
    for part in target.disks:
        before, now = _chain(part.state, part.format), _chain(str(disks[part.target].source), disks[part.target].format)
        # A pull leaves the overlay and nothing under it: that is the same disk still.
        if before and now and before[-1] != now[-1] and not set(now).intersection(overlays):
            raise disk_replaced(vm, target.name, part.target, (now[-1], before[-1]), (part.state, part.format))


def _chain(file: str, image_format: str) -> list[str]:
    try:
        return [os.path.realpath(image.file) for image in read_chain(file, image_format)]
    except (OSError, ValueError):
        return []  # said where chains are checked


def _check_states(handle: DomainHandle, target: Saved) -> dict[str, list[Image]]:
    """Return the chain of each disk's state. Raises ``chain_mismatch`` or ``file_missing``."""
    check_chains(handle)
    states = {}
    for part in target.disks:
        try:
            states[part.target] = read_chain(part.state, part.format)
        except (OSError, ValueError) as error:
            raise _unreadable(handle.name, target.name, part, error) from error
    return states


def _unreadable(vm: str, name: str, part: SavedDisk, error: Exception) -> KvmError:
    return file_missing(vm, name, f"the state of disk {part.target} cannot be read: {error}", [part.state])


def _check_internal(handle: DomainHandle, target: Saved, disks: dict[str, Disk]) -> None:
    layers = handle.survey().layers
    for part in target.disks:
        state, top = os.path.realpath(part.state), os.path.realpath(str(disks[part.target].source))
        if state != top:
            raise mixed_chain(handle.name, f"{target.name!r} is inside {part.state}, and the VM is on {top} now")
        if layers.above(state) or state in layers.states - layers.fixed:
            raise mixed_chain(handle.name, f"{target.name!r} is inside {part.state}, which overlays are based on")


def _memory_notes(vm: str, target: Saved, final: str) -> tuple[str, ...]:
    if target.memory_file is None:
        return ()
    if final == _OFF:
        return ("its memory is not loaded, since the VM stays off",)
    if not os.path.exists(target.memory_file):
        raise file_missing(vm, target.name, f"its memory file {target.memory_file} is gone", [target.memory_file])
    return ()


def _overlay(handle: DomainHandle, name: str, part: SavedDisk) -> SnapshotDisk:
    directory = os.path.dirname(os.path.realpath(part.overlay or part.state))
    if not os.path.isdir(directory) and not is_device(part.state):
        directory = os.path.dirname(os.path.realpath(part.state))
    if not os.path.isdir(directory):
        reason, remedy = "is not there", f"Make it anew: mkdir -p {shlex.quote(directory)}."
    elif not os.access(directory, os.W_OK | os.X_OK) or os.statvfs(directory).f_flag & os.ST_RDONLY:
        reason, remedy = "cannot be written", "Make the directory writable."
    else:
        reason = remedy = ""
    if reason:
        raise KvmError(
            "overlay_dir_unusable",
            f"{handle.name} needs a new overlay in {directory}, which {reason}.",
            f"Nothing was changed, and the VM was not stopped. {remedy}",
            directory=directory,
        )
    path = unused_path((), directory, file_name(handle.name, part.target, name), ".qcow2")
    return SnapshotDisk(part.target, path, "qcow2", None, part.state)


def _is_needed(vm: VirtualMachine, snapshot: Snapshot, forest: Forest, target: Saved, final: str) -> bool:
    if vm.active or final != _OFF or not snapshot.current:
        return True
    return not all(
        forest.layers.backing.get(top) == os.path.realpath(part.state) and top in forest.layers.ours and is_empty(top)
        for part in target.disks
        if (top := forest.tops.get(part.target))
    )


def _dropped(forest: Forest, target: Saved) -> tuple[str, ...]:
    layers = forest.layers
    layers.present -= {forest.tops[part.target] for part in target.disks if part.target in forest.tops}
    dropped = gone(steps(layers, merging=False))
    return tuple(forest.spelled.get(file, file) for file in dropped if not is_device(file))


class Reversion:
    """The revert of one domain; a later run may go on with it, or undo it where the VM was not stopped yet."""

    def __init__(self, handle: DomainHandle, pace: Pace) -> None:
        self._handle = handle
        self._pace = pace
        self._kept: tuple[bytes | None] | None = None  # the record as it was, where this run has begun the revert
        self._definition = ""

    def run(self, plan: RevertPlan) -> None:
        """Revert. Raises as `Hypervisor.revert` says."""
        handle, name = self._handle, plan.snapshot.name
        target = handle.snapshot(name)
        if target.kind == "internal":
            self._revert_internal(target, plan.power)
            return
        journal = self._journal(plan)
        kept = _keeping(handle, handle.saved(), plan.snapshot).kept
        self._kept = (handle.keep_record(),)
        try:
            self._begin(journal, target, kept)
            journal = replace(journal, committed=True)
            self._commit(journal)
            self._stop()
        except KvmError as error:
            # Without libvirt nobody knows whether it was stopped: the next run looks.
            if error.error_code != "connection_lost":
                self._forget(journal)
            raise
        self._finish(journal, target)

    def _journal(self, plan: RevertPlan) -> Journal:
        overlays = {part.target: str(part.file) for part in plan.overlays}
        before = {disk.target: (str(disk.source), disk.format) for disk in image_disks(self._handle.definition())}
        return Journal(
            "revert",
            plan.snapshot.name,
            plan.snapshot.created_at,
            now(),
            overlays=overlays,
            power=plan.power,
            was={target: before[target] for target in overlays if target in before},
            was_power=plan.vm.state if plan.vm.active else _OFF,
        )

    def _begin(self, journal: Journal, target: Saved, kept: tuple[str, ...]) -> None:
        handle, record = self._handle, self._handle.record()
        # Noted as ours before they are made: what becomes of them is settled like any other layer then.
        overlays = (*record.overlays, *map(os.path.realpath, journal.overlays.values()))
        noted = replace(record, overlays=overlays, kept=kept)
        handle.write(replace(noted, journal=journal), durable=True)
        with translated(handle.name, "asking as whom QEMU runs"):
            users = of_unlabelled(handle.connection, handle.definition())
        for part in target.disks:
            try:
                image = read_image(part.state, part.format)
            except (OSError, ValueError) as error:
                raise _unreadable(handle.name, target.name, part, error) from error
            user = users.get(part.target)
            create_overlay(journal.overlays[part.target], image.file, image.format, image.virtual_size, user)

    def _commit(self, journal: Journal) -> None:
        record = self._handle.record()
        made = {os.path.realpath(file): Made(disk, identity(file)) for disk, file in journal.overlays.items()}
        self._handle.write(replace(record, journal=journal, made={**record.made, **made}), durable=True)

    def _note(self, journal: Journal) -> None:
        self._handle.write(replace(self._handle.record(), journal=journal), durable=True)

    def _forget(self, journal: Journal) -> None:
        """Remove what was made for a revert that did not begin; the next run does where that cannot be made sure of."""
        handle = self._handle
        with suppress(KvmError):
            self._note(replace(journal, committed=False))
            if self._kept is None:
                self._undo()
            else:
                remove_unused(handle, journal.overlays.values())
                handle.put_back_record(*self._kept)

    def resume(self, journal: Journal) -> Recovery:
        """Finish or undo what an interrupted run left, and say which."""
        handle = self._handle
        target = next((one for one in handle.saved() if one.name == journal.snapshot), None)
        on_new = is_on(handle, journal)
        if target is None or not journal.committed or (handle.active() and not on_new):
            # Not stopped yet, or somebody has started it again since: what it is on is what counts.
            self._undo()
            return Recovery(f"Undid the interrupted revert to snapshot {journal.snapshot!r}.", finished=False)
        self._finish(journal, target)
        return Recovery(f"Finished the interrupted revert to snapshot {journal.snapshot!r}.")

    def _undo(self) -> None:
        self._settle()
        close_record(self._handle)

    def _settle(self) -> None:
        """Drop what is not needed as things are."""
        handle = self._handle
        forest = handle.survey()
        settle(handle, forest, False, self._pace, lambda: None)
        handle.agree(forest, {})

    def _finish(self, journal: Journal, target: Saved) -> None:
        handle = self._handle
        if not (handle.active() and is_on(handle, journal)):
            self._stop()
            self._define(journal)
        self._verify(journal)
        failed = None if handle.active() or journal.power == _OFF else start(handle, journal, target)
        if failed and journal.was and not journal.settling:
            error = go_back(handle, journal, failed, self._definition)
            self._forget(journal)
            raise error
        self._note(replace(journal, settling=True))
        self._settle()
        close_record(handle)
        if failed:
            raise start_failed(handle.name, failed)

    def _stop(self) -> None:
        handle = self._handle
        with translated(handle.name, "stopping it"):
            if handle.native.isActive():
                handle.native.destroy()
        end = time.monotonic() + _STOP_SECONDS
        while handle.active() and time.monotonic() < end:
            time.sleep(0.05)

    def _define(self, journal: Journal) -> None:
        """Define the VM on the new overlays; undo that where somebody has started it on the old ones meanwhile."""
        handle = self._handle
        definition = handle.definition()
        before = {disk.target: (str(disk.source), disk.format) for disk in image_disks(definition)}
        if all(before.get(target) == image for target, image in journal.was.items()):
            self._definition = etree.tostring(definition, encoding="unicode")
        handle.define({disk: (overlay, "qcow2") for disk, overlay in journal.overlays.items()})
        if handle.active() and not is_on(handle, journal):
            handle.define({target: before[target] for target in journal.overlays})
            self._undo()
            raise KvmError(
                "busy",
                f"Somebody started {handle.name} while it was being reverted.",
                "The revert was undone: the VM goes on with what it had. Run the task again.",
            )

    def _verify(self, journal: Journal) -> None:
        if not is_on(self._handle, journal):
            raise KvmError(
                "verification_failed",
                f"After the revert {self._handle.name} is not on its new overlays.",
                "Delete no file. Look at vm_snapshot_info and libvirt's log.",
            )

    def _revert_internal(self, target: Saved, power: str) -> None:
        """Let libvirt revert to what is inside the images; the definition stays as it is."""
        handle = self._handle
        definition = unresolved(handle.definition())
        handle.agree(handle.survey(), {})
        flags = {_RUNNING: _REVERT_RUNNING, _PAUSED: _REVERT_PAUSED}.get(power, 0) | _REVERT_FORCE
        with translated(handle.name, "reverting to the snapshot inside its images"):
            handle.native.revertToSnapshot(handle.native.snapshotLookupByName(target.name, 0), flags)
            if power == _OFF and handle.native.isActive():
                handle.native.destroy()
            handle.connection.defineXML(definition)
