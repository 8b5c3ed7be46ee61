# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copying a VM's UEFI variables while its snapshot is taken. A copy that fails costs no snapshot: it is told as left out."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any, Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.firmware.variables_file import (
    form_of,
    note_of,
    read_variables,
    reserve,
    write,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.journal import TakeJournal
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.uefi_notes import UefiCopy, UefiCopying
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.uefi_variables import (
    RAW,
    uefi_variables,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.taking.uefi_copy import NVRAM, nvram_left_out
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import LeftOut, Snapshot


def planned_copying(file: Optional[str], domain: Any) -> Optional[UefiCopying]:
    """Return what is to be copied to a file that was planned, None where nothing is."""
    found = uefi_variables(domain) if file else None
    if file is None or found is None or not found.file:
        return None
    try:
        return UefiCopying(os.path.realpath(found.file), file, form_of(found))
    except OSError:
        return UefiCopying(os.path.realpath(found.file), file, RAW)  # copying it will say why that fails


class VariablesCopy:
    """The copy that goes with one snapshot; ``failed`` says why there is none although one was planned."""

    def __init__(self, copying: Optional[UefiCopying]) -> None:
        self.copying = copying
        self.failed = ""

    def begin(self) -> bool:
        """Make the file, empty as yet; return whether all went well. What was there already stays, and is none of ours."""
        if self.copying:
            try:
                reserve(self.copying.file)
            except OSError as error:
                self._fail(str(error.strerror))
        return not self.failed

    def make(self) -> None:
        """Copy what the VM has now. It stands still, or is off."""
        copying = self.copying
        if copying is None:
            return
        try:
            write(copying.file, read_variables(copying.source, copying.form))
        except (OSError, ValueError) as error:
            self.give_up(str(getattr(error, "strerror", None) or error))

    def give_up(self, why: str) -> None:
        """Take the snapshot without a copy; the file was made by this very run."""
        if self.copying:
            with suppress(OSError):
                os.unlink(self.copying.file)
            self._fail(why)

    def note(self) -> Optional[UefiCopy]:
        """Return what is noted of the copy, None where there is none."""
        if self.copying is None:
            return None
        try:
            return note_of(self.copying.file, self.copying.form)
        except (OSError, ValueError) as error:
            self.give_up(str(getattr(error, "strerror", None) or error))
            return None

    def told(self, planned: Snapshot) -> tuple[LeftOut, ...]:
        """Return what the snapshot leaves out, with the variables where copying them failed."""
        return (*planned.left_out, *((nvram_left_out(self.failed),) if self.failed else ()))

    @property
    def notes(self) -> tuple[str, ...]:
        """What an operator should know of it."""
        return (f"{NVRAM}: {nvram_left_out(self.failed).reason}",) if self.failed else ()

    def _fail(self, why: str) -> None:
        source = self.copying.source if self.copying else ""
        self.copying, self.failed = None, f"{source} could not be copied: {why}"


def late_note(journal: TakeJournal) -> Optional[UefiCopy]:
    """Return the note of the copy that a killed run made, None where it is not whole: the power may have failed since."""
    copying = journal.nvram
    if copying is None:
        return None
    try:
        copy = note_of(copying.file, copying.form)
        whole = copying.form != RAW or copy.size == os.stat(copying.source).st_size
    except (OSError, ValueError):
        return None
    return copy if whole else None
