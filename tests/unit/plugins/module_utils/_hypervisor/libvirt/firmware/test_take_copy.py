# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies of UEFI variables as they are made, also by a run that was killed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest.importorskip("lxml")

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.firmware.take_copy import (
    VariablesCopy,
    late_note,
    planned_copying,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.firmware.variables_file import (
    is_ours,
    past_of,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.journal import TakeJournal
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils._hypervisor.libvirt.firmware.uefi_files import (
    THEN,
    copied,
    file,
    xml,
)

__all__ = ("file",)


def test_a_copy_is_for_root_alone_and_has_every_byte(file: Path) -> None:
    copy = copied(file)
    assert Path(copy.file).read_bytes() == THEN
    assert os.stat(copy.file).st_mode & 0o777 == 0o600
    assert (past_of(copy).past, is_ours(copy)) == ("unchanged", True)


def test_a_file_that_is_there_already_is_left_alone(file: Path) -> None:
    file.with_suffix(".vars").write_bytes(b"theirs")
    taking = VariablesCopy(planned_copying(str(file.with_suffix(".vars")), xml(file)))
    assert not taking.begin()
    taking.make()
    assert taking.note() is None
    assert "File exists" in taking.notes[0]
    assert file.with_suffix(".vars").read_bytes() == b"theirs"


def test_a_copy_that_fails_is_told_and_leaves_nothing(file: Path) -> None:
    taking = VariablesCopy(planned_copying(str(file.with_suffix(".vars")), xml(file)))
    assert taking.begin()
    file.unlink()
    taking.make()
    assert taking.note() is None
    assert "No such file" in taking.failed
    assert not file.with_suffix(".vars").exists()


@pytest.mark.parametrize(("content", "whole"), [(THEN, True), (b"", False), (THEN[:-1], False)])
def test_what_a_killed_run_copied_is_noted_where_it_is_whole(file: Path, content: bytes, whole: bool) -> None:
    copying = planned_copying(str(file.with_suffix(".vars")), xml(file))
    file.with_suffix(".vars").write_bytes(content)
    assert (late_note(TakeJournal("s1", nvram=copying)) is not None) == whole
