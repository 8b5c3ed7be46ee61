# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a VM has the disks that it had: at a snapshot, or when a revert was interrupted."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.backing_chain import (
    adds_nothing,
    holds_more,
    readable_chain,
    real_chain,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.image_header import Image
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.layer_forest import Forest
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.firmware.put_back import (
    Copies,
    Returns,
    differs,
    lacks,
    undo,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.firmware.state_file import (
    noted_copies,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.any_format_backing import (
    UNREADABLE,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.real_paths import real_path
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.merge.moved_disks import keep_left
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.saved_snapshot import Saved
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.refusals import (
    inside_another,
    memory_of_other_disk,
    refuse_memory_of_another,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.vm_handle import VmHandle
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.journal import (
    RevertJournal,
    RevertPhase,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.devices import (
    Disk,
    image_disks,
    stays_on,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.refusals import (
    disk_replaced,
    disks_changed,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.taking.firmware_copies import called
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.plan import Resize
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import Snapshot
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import VirtualMachine

_STOP_MOST = 120  # seconds that a stop may last, at whose end QEMU writes last


def check_same_disks(vm: str, target: Saved, disks: dict[str, Disk], overlays: Collection[str]) -> None:
    """Raise ``disks_changed`` where the VM has not the disks that it had; ``overlays`` are all that were made of its disks."""
    then = {disk.target for disk in target.vm_disks if disk.source and disk.device in ("disk", "lun")}
    covered = {part.target for part in target.disks}
    removed = sorted(covered - disks.keys())
    added = [name for name in sorted(disks.keys() - then) if not disks[name].readonly]
    if removed or added:
        raise disks_changed(vm, target.name, removed, added)
    for part in target.disks:
        before, now = (
            _chain(part.frozen, part.format),
            _chain(str(disks[part.target].source), disks[part.target].format),
        )
        # A pull leaves the overlay and nothing under it: that is the same disk still.
        if before and now and before[-1] != now[-1] and not set(now).intersection(overlays):
            raise disk_replaced(vm, target.name, part.target, (now[-1], before[-1]), (part.frozen, part.format))


def with_disks_of_now(handle: VmHandle, snapshot: str, memory: Any, covered: Collection[str]) -> Iterator[Disk]:
    """Yield the disks, outside a snapshot, that its ``memory`` (a domain) goes on with: as the VM has them now.

    Raises ``bad_state`` for the memory of another VM, and ``disks_changed`` where the VM does not have one of the memory's disks
    any more, or has another one there: that file may be a snapshot's by now, or another VM's.
    """
    refuse_memory_of_another(handle.name, handle.id.uuid, snapshot, memory)
    now_has = {disk.target: disk for disk in image_disks(handle.definition())}
    for disk in image_disks(memory):
        if disk.target in covered or disk.readonly:
            continue
        now = now_has.get(disk.target)
        if now is None or real_path(str(disk.source)) not in readable_chain(str(now.source), now.format):
            is_on = str(now.source) if now else None
            raise memory_of_other_disk(handle.name, snapshot, disk.target, str(disk.source), is_on)
        yield now


def resizes(forest: Forest, states: Mapping[str, Sequence[Image]]) -> Iterator[Resize]:
    """Yield the disks that become another size: ``states`` are the chains of a snapshot."""
    for target, chain in states.items():
        now_on = forest.images.get(forest.tops.get(target, ""))
        if now_on and now_on.virtual_size != chain[0].virtual_size:
            yield Resize(target, now_on.virtual_size, chain[0].virtual_size)


def is_needed(vm: VirtualMachine, snapshot: Snapshot, forest: Forest, target: Saved, final: str) -> bool:
    """Whether a revert has anything to do: not where the VM is off, stays so, and nothing was written since the snapshot."""
    if vm.active or final != "shutoff" or not snapshot.current:
        return True
    layers = forest.layers
    return not all(
        layers.backing.get(top) == real_path(part.frozen) and top in layers.ours and adds_nothing(top)
        for part in target.disks
        if (top := forest.tops.get(part.target))
    )


def check_removable_inside(handle: VmHandle, going: Iterable[Saved]) -> None:
    """Raise ``bad_state`` where a VM runs on another image than the one that a snapshot that goes is inside."""
    tops = {real_path(str(disk.source)) for disk in image_disks(handle.xml())}
    for one in going:
        for part in one.disks:
            if one.kind == "internal" and handle.active() and real_path(part.frozen) not in tops:
                raise inside_another(handle.name, one.name, part.frozen)


def _chain(file: str, image_format: str) -> list[str]:
    try:
        return real_chain(file, image_format)
    except (OSError, ValueError):
        return []  # said where chains are checked


def is_on(handle: VmHandle, journal: RevertJournal) -> bool:
    """Whether the VM is on the new overlays of a revert, with those of its disks that it still has."""
    runs = handle.active()
    now_on = {disk.target: str(stays_on(disk) if runs else disk.source) for disk in image_disks(handle.xml())}
    return all(now_on.get(disk, overlay) == overlay for disk, overlay in journal.overlays.items())


def may_lack(handle: VmHandle, journal: RevertJournal, target: Saved) -> bool:
    """Whether a VM that runs on the new overlays may lack what else is in the snapshot: nobody knows who has started it."""
    copies = noted_copies(handle.record(), journal.snapshot, journal.created_at)
    return (target.memory_file is not None and journal.power != "shutoff") or lacks(journal.returning, copies)


def is_elsewhere(handle: VmHandle, journal: RevertJournal) -> bool:
    """Whether others have put a disk on an image that it was not on before the revert, and that the revert had not made."""
    known = {
        target: {real_path(image), real_path(journal.overlays.get(target, image))}
        for target, (image, _format) in journal.was.items()
    }
    return any(target in known and real_path(image) not in known[target] for target, image in handle.tops())


def was_used(handle: VmHandle, journal: RevertJournal) -> bool:
    """Whether somebody may have written to the disks that the VM was to leave, since a run stopped it and was killed.

    So it is where that run had not begun to stop it: somebody else has, then. Where it had not yet noted how it left the disks,
    what was written while the stop may have lasted is QEMU's last.
    """
    now_on = {disk.target: str(disk.source) for disk in image_disks(handle.definition())}
    until = None
    if journal.stopping_at and journal.was_power != "shutoff":
        until = int((datetime.fromisoformat(journal.stopping_at).timestamp() + _STOP_MOST) * 10**9)
    for target, (image, _format) in journal.was.items():
        if now_on.get(target) == image and os.path.exists(image):
            written, left = os.stat(image).st_mtime_ns, journal.left.get(target)
            if (written != left) if left or until is None else (written > until):
                return True
    return False


def is_stopping(handle: VmHandle) -> bool:
    """Whether a revert of this run has told the VM to stop, and it has not ended yet."""
    journal = handle.record().journal
    return isinstance(journal, RevertJournal) and bool(journal.stopping_at) and handle.active()


def leave_firmware(handle: VmHandle, journal: RevertJournal) -> str:
    """Give a VM that stays where it is the UEFI variables and the TPM that it had; return what to say where that cannot be."""
    copies = noted_copies(handle.record(), journal.snapshot, journal.created_at)
    return "".join(_leave(handle, {part: back}, copies) for part, back in journal.returning.items())


def _leave(handle: VmHandle, one: Returns, copies: Copies) -> str:
    ((part, back),) = one.items()
    with suppress(OSError):
        if not (handle.active() or differs(one, copies)) or not os.path.lexists(back.was or back.new):
            undo(one, copies)
            return ""
    kept = f" It has {called(part)} of the snapshot now; what it had is in {back.was}: copy that to {back.file} while it is off."
    return kept if back.was else ""


def is_used_since(journal: RevertJournal) -> bool:
    """Whether somebody has written to a new overlay. One that cannot be read is not used: the VM does not start on it."""
    for overlay in journal.overlays.values():
        with suppress(*UNREADABLE):
            if not adds_nothing(overlay):
                return True
    return False


def keep_where_others_decide(handle: VmHandle, journal: RevertJournal) -> None:
    """Note that what a VM has left is kept where others decide what it is on: of the old images and the new overlays, those
    that it is neither on nor based on.

    Of a VM that was never on a new overlay, a file that holds more has the name only: it is somebody else's.
    """
    record, forest = handle.record(), handle.survey()
    if journal.phase is RevertPhase.PREPARING:
        others = {real_path(file) for file in journal.overlays.values() if holds_more(file)}
        record = replace(record, overlays=tuple(file for file in record.overlays if file not in others))
        handle.write(record)
    on = {layer for top in forest.tops.values() for layer in forest.chain(top)}
    left = {real_path(file) for file in journal.overlays.values() if holds_more(file)}
    left.update(
        real_path(image)
        for target, (image, _format) in journal.was.items()
        if real_path(journal.overlays.get(target, "")) not in on
    )
    keep_left(handle, left - on)


def last_writes(journal: RevertJournal) -> dict[str, int]:
    """Return the time of the last write (ns) to each image that a stopped VM is on, by target."""
    images = {target: image for target, (image, _format) in journal.was.items() if os.path.exists(image)}
    return {target: os.stat(image).st_mtime_ns for target, image in images.items()}
