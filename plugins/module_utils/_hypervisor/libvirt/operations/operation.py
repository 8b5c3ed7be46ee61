# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one shape of every operation that changes a VM's snapshots: plan, run, resume."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import ClassVar, Generic, Optional, TypeVar

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.note_frozen_images import (
    looked_at,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.firmware.state_file import is_ours
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.guest.thaw_guard import ThawGuard
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.real_paths import real_path
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.inspection import (
    Inspected,
    as_inspected,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.running_jobs import (
    refuse_managed_save,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.vm_handle import VmHandle
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.made_overlays import still_there
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.vm_record import snapshot_key
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.deadline import Pace
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.plan import Done, Recovery
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import VirtualMachine

Wish = TypeVar("Wish")
Plan = TypeVar("Plan")
Noted = TypeVar("Noted")
Outcome = TypeVar("Outcome", Done, Recovery)


@dataclass(frozen=True)
class Tools:
    """What an operation needs beside its VM: how to open one more connection, and who thaws a guest whatever dies."""

    uri: str
    guard: ThawGuard


class Operation(ABC, Generic[Wish, Plan, Noted]):
    """One change of one VM's snapshots. The lock of the VM is held from `plan` to the end of `run`, and in `resume`.

    `plan` reads, refuses, and changes nothing. `run` writes a journal first, of the type that `resume` takes: with that a later
    run finishes or undoes what this one leaves, wherever it ended. Every method raises `KvmError`, as `Hypervisor` says.
    """

    kind: ClassVar[str]  # that of its journal

    def __init__(self, handle: VmHandle, tools: Tools, pace: Pace) -> None:
        self._handle = handle
        self._tools = tools
        self._pace = pace

    def plan(self, vm: VirtualMachine, wish: Wish) -> Plan:
        """Decide what is to be done, by what the inspection of the VM has read and one more look at the rest."""
        with as_inspected(self._handle, vm) as found:
            return self._plan(found, wish)

    @abstractmethod
    def _plan(self, vm: Inspected, wish: Wish) -> Plan:
        """Decide it, and check all that can be checked beforehand."""

    def run(self, plan: Plan) -> Done:
        """Do what was planned, verify it, and tell what came of it; files by the names that they had in the plan."""
        done = self._with_files(lambda: self._run(plan))
        names = {real_path(file): file for file in getattr(plan, "dropped", ())}
        return replace(done, files_removed=tuple(names.get(real_path(file), file) for file in done.files_removed))

    @abstractmethod
    def _run(self, plan: Plan) -> Done:
        """Do it; which files were removed is added."""

    def resume(self, journal: Noted) -> Recovery:
        """Finish or undo what an interrupted run left, and say which."""
        refuse_managed_save(self._handle)
        return self._with_files(lambda: self._resume(journal))

    @abstractmethod
    def _resume(self, journal: Noted) -> Recovery:
        """Bring it to its end; which files were removed is added."""

    def cannot_resume(self, journal: Noted) -> Optional[KvmError]:
        """Return why `resume` would refuse before it changes anything, None where nothing is known to speak against it."""
        try:
            with self._handle.seen_once():
                refuse_managed_save(self._handle)
                self._check_resume(journal)
        except KvmError as error:
            return error
        return None

    def _check_resume(self, _journal: Noted) -> None:
        """Raise what `_resume` refuses as things are."""
        self._handle.survey()

    def _with_files(self, work: Callable[[], Outcome]) -> Outcome:
        """Tell which files were removed, also where the work failed after that."""
        with self._handle.telling_removed():
            return replace(work(), files_removed=tuple(self._handle.removed))


def remove_unused(handle: VmHandle, files: Iterable[str]) -> None:
    """Delete those of a take's files that came to no use: no VM of this host, no snapshot and no other image needs them."""
    existing = {real_path(file): file for file in files if os.path.exists(file)}
    if not existing:
        return
    layers, users = handle.survey().layers, handle.around().users
    named = {real_path(file) for one in handle.saved() for file in (*one.overlays, str(one.memory_file))}
    needed = layers.active | layers.frozen | named
    handle.unlink(
        file
        for real, file in existing.items()
        if real not in needed and not layers.above(real) and not users.of(real, handle.id.uuid)
    )


def close_record(handle: VmHandle) -> None:
    """End the operation under way, and forget of layers and snapshots what is of no use any more.

    A snapshot that others removed is noted as long as there is a copy of its UEFI variables or its TPM: that is an orphan now.
    """
    forest, record = handle.survey(), handle.record()
    known, saved = forest.layers.backing, handle.saved()
    keys = {snapshot_key(one.name, one.created_at) for one in saved}
    kept = replace(
        looked_at(record, saved),
        snapshots={
            key: note
            for key, note in record.snapshots.items()
            if key in keys or any(map(is_ours, note.copies.values()))
        },
        overlays=tuple(file for file in record.overlays if known.get(file) is not None),
        made=still_there(record.made),
        kept=tuple(file for file in forest.unneeded() if file in forest.detached),
        active={target: top for target, top in forest.tops.items() if top in {*record.made, *forest.layers.ours}},
        former=tuple(
            file
            for file in record.former
            if (real := real_path(file)) in known and real not in forest.layers.frozen | forest.layers.active
        ),
        journal=None,
    )
    handle.write(kept)
