# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies of what a VM's firmware keeps as they are made, also by a run that was killed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest.importorskip("lxml")

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.firmware.state_file import (
    is_ours,
    past_of,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.firmware.take_copy import (
    FirmwareCopies,
    late_notes,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.firmware_notes import FirmwareCopying
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.journal import TakeJournal
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils._hypervisor.libvirt.firmware.firmware_files import (
    THEN,
    copied,
    copy_of,
    copying,
    file,
    part_of,
)

__all__ = ("file",)


def test_a_copy_is_for_root_alone_and_has_every_byte(file: Path) -> None:
    part, copy = next(iter(copied(file).items()))
    assert Path(copy.file).read_bytes() == THEN
    assert os.stat(copy.file).st_mode & 0o777 == 0o600
    assert (past_of(part, copy).past, is_ours(copy)) == ("unchanged", True)


def test_a_file_that_is_there_already_is_left_alone(file: Path) -> None:
    copy_of(file).write_bytes(b"theirs")
    taking = FirmwareCopies(copying(file))
    assert taking.begin() == {str(copy_of(file))}
    taking.make()
    assert taking.notes_of() == {}
    assert "File exists" in taking.notes[0]
    assert copy_of(file).read_bytes() == b"theirs"


def test_a_copy_that_fails_is_told_and_leaves_nothing(file: Path) -> None:
    taking = FirmwareCopies(copying(file))
    assert taking.begin() == set()
    file.unlink()
    taking.make()
    assert taking.notes_of() == {}
    assert "No such file" in taking.failed[part_of(file)]
    assert not copy_of(file).exists()


def test_one_part_that_fails_leaves_the_other_one(tmp_path: Path, file: Path) -> None:
    other = "nvram" if part_of(file) == "tpm" else "tpm"
    missing = FirmwareCopying(str(tmp_path / "gone"), str(tmp_path / "other"), "raw")
    taking = FirmwareCopies({other: missing, **copying(file)})
    assert taking.begin() == set()
    taking.make()
    assert (list(taking.notes_of()), list(taking.failed)) == ([part_of(file)], [other])
    assert not (tmp_path / "other").exists()


def test_a_vm_that_cannot_be_held_gets_no_copy(file: Path) -> None:
    taking = FirmwareCopies(copying(file))
    taking.begin()
    taking.give_up("nobody would resume it")
    taking.make()
    assert (taking.notes_of(), copy_of(file).exists()) == ({}, False)
    assert "nobody would resume it" in taking.notes[0]


@pytest.mark.parametrize(("content", "whole"), [(THEN, True), (b"", False), (THEN[:-1], False)])
def test_what_a_killed_run_copied_is_noted_where_it_is_whole(file: Path, content: bytes, whole: bool) -> None:
    planned = copying(file)
    copy_of(file).write_bytes(content)
    journal = TakeJournal("s1", nvram=planned.get("nvram"), tpm=planned.get("tpm"))
    assert list(late_notes(journal)) == ([part_of(file)] if whole else [])
