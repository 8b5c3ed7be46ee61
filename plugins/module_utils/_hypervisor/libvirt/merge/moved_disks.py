# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which image each disk is on while a removal goes on, so that an older definition that somebody puts back meanwhile is known."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.backing_chain import (
    readable_chain,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.real_paths import real_path
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.refusals import definition_older
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.vm_handle import VmHandle
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.journal import RemoveJournal
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.vm_record import Record


def note_moving(handle: VmHandle, targets: Iterable[str]) -> None:
    """Note, before it is so, that disks go over to the image into which their active layer has been merged."""
    record, journal = handle.record(), handle.record().journal
    moving = list(targets)
    if isinstance(journal, RemoveJournal) and journal.merging and moving:
        was = {**journal.was, **dict.fromkeys(moving, journal.merging[1])}
        handle.write(replace(record, journal=replace(journal, was=was)), durable=True)


def last_on(record: Record) -> dict[str, str]:
    """Return the overlay that each disk was on last, by target, as far as that is noted."""
    return record.journal.was if isinstance(record.journal, RemoveJournal) else record.active


def refuse_older(handle: VmHandle, journal: RemoveJournal) -> set[str]:
    """Raise ``definition_changed`` where a disk is on an older image than a killed removal left it on.

    To go on would delete what that image does not have. Who copied the disk elsewhere has it there, and who detached it may
    want it back: return the images that were left so, of which the overlays that a removal may delete are to be kept.
    """
    record, tops = handle.record(), handle.tops()  # of a disk both, what it runs on and what it is defined on
    ours = {*record.overlays, *record.made}
    has = {target for target, _image in tops}
    left = {real_path(last) for target, last in journal.was.items() if target not in has}
    left.difference_update(real_path(image) for _target, image in tops)  # a disk that is called otherwise now
    for target, image in tops:
        last = journal.was.get(target)
        if last is None or not os.path.lexists(last):
            continue
        # The lowest one may be of another format: then it is all of the chain.
        before, now = readable_chain(last, "qcow2"), readable_chain(image, "qcow2")
        if before[0] in now:
            continue
        if now[0] in before or now[0] in ours:
            raise definition_older(handle.name, target, image, last)
        left.add(before[0])
    return left


def keep_left(handle: VmHandle, left: set[str]) -> None:
    """Note that images are kept that the VM has left; of those that it is on, or that are not ours, this says nothing."""
    if left:
        record = handle.record()
        handle.write(replace(record, kept=tuple(sorted({*record.kept, *left}))))
