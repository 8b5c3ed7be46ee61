# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copying what a VM's firmware keeps while its snapshot is taken. A copy that fails costs no snapshot: it is told as left out."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.firmware.state_file import (
    form_of,
    note_of,
    read_state,
    real_file,
    reserve,
    write,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.firmware_notes import (
    FirmwareCopy,
    FirmwareCopying,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.journal import TakeJournal
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.firmware_states import (
    LINEAR,
    RAW,
    FirmwareState,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.taking.firmware_copies import firmware_left_out
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import LeftOut, Snapshot


def planned_copying(files: Mapping[str, str], states: Mapping[str, FirmwareState]) -> dict[str, FirmwareCopying]:
    """Return what is to be copied to the files that were planned, by part."""
    return {part: _planned(file, states[part]) for part, file in files.items() if part in states and states[part].file}


def _planned(file: str, found: FirmwareState) -> FirmwareCopying:
    try:
        form = form_of(found)
    except OSError:
        form = found.form  # copying it will say why that fails
    return FirmwareCopying(real_file(found), file, form)


class FirmwareCopies:
    """The copies that go with one snapshot; ``failed`` says of each that was planned, and is not there, why."""

    def __init__(self, copying: Mapping[str, FirmwareCopying]) -> None:
        self.copying = dict(copying)
        self.failed: dict[str, str] = {}

    def begin(self) -> set[str]:
        """Make the files, empty as yet; return those that cannot be made. What was there already stays, and is none of ours."""
        left = set()
        for part, copying in list(self.copying.items()):
            try:
                reserve(copying.file)
            except OSError as error:
                left.add(copying.file)
                self._fail(part, str(error.strerror))
        return left

    def make(self) -> None:
        """Copy what the VM has now. It stands still, or is off."""
        for part, copying in list(self.copying.items()):
            try:
                write(copying.file, read_state(copying.source, copying.form))
            except (OSError, ValueError) as error:
                self._give_up(part, _said(error))

    def give_up(self, why: str) -> None:
        """Take the snapshot without any copy; the files were made by this very run."""
        for part in list(self.copying):
            self._give_up(part, why)

    def notes_of(self) -> dict[str, FirmwareCopy]:
        """Return what is noted of the copies that there are, by part."""
        found = {}
        for part, copying in list(self.copying.items()):
            try:
                found[part] = note_of(copying.file, copying.form)
            except (OSError, ValueError) as error:
                self._give_up(part, _said(error))
        return found

    def told(self, planned: Snapshot) -> tuple[LeftOut, ...]:
        """Return what the snapshot leaves out, with what could not be copied."""
        return (*planned.left_out, *(firmware_left_out(part, why) for part, why in self.failed.items()))

    @property
    def notes(self) -> tuple[str, ...]:
        """What an operator should know of them."""
        return tuple(f"{part}: {firmware_left_out(part, why).reason}" for part, why in self.failed.items())

    def _give_up(self, part: str, why: str) -> None:
        with suppress(OSError):
            os.unlink(self.copying[part].file)
        self._fail(part, why)

    def _fail(self, part: str, why: str) -> None:
        self.failed[part] = f"{self.copying.pop(part).source} could not be copied: {why}"


def late_notes(journal: TakeJournal) -> dict[str, FirmwareCopy]:
    """Return the notes of the copies that a killed run made, less those that are not whole: the power may have failed since."""
    found = {}
    for part, copying in journal.copying.items():
        with suppress(OSError, ValueError):
            copy = note_of(copying.file, copying.form)
            if copying.form not in (RAW, LINEAR) or copy.size == os.stat(copying.source).st_size:
                found[part] = copy
    return found


def _said(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)
