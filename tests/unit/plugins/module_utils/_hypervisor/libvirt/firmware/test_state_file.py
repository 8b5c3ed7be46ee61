# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files of UEFI variables and TPMs can be copied, and which copy is the one that was made."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest.importorskip("lxml")

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.firmware.state_file import (
    going_copies,
    is_ours,
    note_of,
    obstacle,
    past_of,
    read_state,
    real_file,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.vm_record import (
    Record,
    SnapshotRecord,
    snapshot_key,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.firmware_states import (
    JSON,
    LINEAR,
    NVRAM,
    PERMALL,
    QCOW2,
    RAW,
    TPM,
    FirmwareState,
)
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils._hypervisor.libvirt.firmware.firmware_files import (
    NOW,
    THEN,
    copied,
    file,
)

__all__ = ("file",)


def test_half_of_a_json_file_is_no_copy(file: Path) -> None:
    file.write_bytes(b'{"version": 2, "variables": [')
    with pytest.raises(ValueError, match="Expecting"):
        note_of(str(file), JSON)


def test_a_copy_from_a_backup_is_the_copy_still(file: Path) -> None:
    part, copy = next(iter(copied(file).items()))
    os.rename(copy.file, copy.file + ".away")
    assert (past_of(part, copy).past, is_ours(copy)) == ("changed", False)
    Path(copy.file).write_bytes(THEN)
    assert (past_of(part, copy).past, is_ours(copy)) == ("unchanged", True)
    Path(copy.file).unlink()
    Path(copy.file).write_bytes(NOW)
    assert (past_of(part, copy).past, is_ours(copy)) == ("changed", False)


def test_a_link_in_its_place_is_not_ours(file: Path) -> None:
    copy = next(iter(copied(file).values()))
    os.rename(copy.file, copy.file + ".away")
    os.symlink(copy.file + ".away", copy.file)
    assert not is_ours(copy)


@pytest.mark.parametrize(
    ("content", "active", "says"),
    [
        (THEN, True, ""),
        (b"QFI\xfb\0\0\0\3" + bytes(8), False, ""),
        (b"QFI\xfb\0\0\0\3" + bytes(8), True, "qcow2"),
        (b"QFI\xfb\0\0\0\3" + bytes(7) + b"\1", False, "overlay"),
    ],
)
def test_which_files_are_not_copied(file: Path, content: bytes, active: bool, says: str) -> None:
    file.write_bytes(content)
    found = obstacle(FirmwareState(NVRAM, str(file), RAW, home=str(file.parent)), active)
    assert says in found
    assert bool(found) == bool(says)


def test_a_file_or_directory_that_cannot_be_had_is_told(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = str(file.parent)
    assert "is not there" in obstacle(FirmwareState(NVRAM, str(file) + "x", RAW, home=home), False)
    assert "no regular file" in obstacle(FirmwareState(NVRAM, home, RAW, home=home), False)
    monkeypatch.setattr(os, "access", lambda *_words: False)
    assert "cannot be written" in obstacle(FirmwareState(NVRAM, str(file), QCOW2, home=home), False)


def test_one_file_for_all_states_of_a_tpm_is_copied_while_the_vm_is_off(file: Path) -> None:
    found = FirmwareState(TPM, str(file), LINEAR, home=str(file.parent))
    assert obstacle(found, active=False) == ""
    assert "only while the VM is off" in obstacle(found, active=True)


def test_a_state_that_is_a_link_is_none(file: Path) -> None:
    """Swtpm puts each state in place of the one before: whoever has put a link there wants root to write elsewhere."""
    link = file.with_name("link")
    link.symlink_to(file)
    found = FirmwareState(TPM, str(link), PERMALL, home=str(file.parent))
    assert "no regular file" in obstacle(found, active=False)
    assert real_file(found) == str(link)
    assert real_file(FirmwareState(NVRAM, str(link))) == str(file)


@pytest.mark.parametrize("content", [b"", b"short", THEN[:-1], THEN + b"x", b"\2\1\0\x0b" + THEN[4:]])
def test_what_swtpm_would_not_take_is_no_copy(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"swtpm|empty"):
        read_state(str(file), PERMALL)


def test_copies_that_go_are_ours_and_of_others_it_is_told(file: Path) -> None:
    copies = copied(file)
    copy = next(iter(copies.values()))
    record = Record(snapshots={snapshot_key("s1", None): SnapshotRecord().with_copies(copies)})
    assert going_copies(record, [("s1", None), ("s2", None)]) == ([copy.file], [])
    os.unlink(copy.file)
    assert going_copies(record, [("s1", None)]) == ([], [])
    Path(copy.file).write_bytes(NOW)
    ours, told = going_copies(record, [("s1", None)])
    assert ours == []
    assert told[0].startswith(f"{copy.file} stays, because somebody put it in place of the copy of the ")
