# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files of UEFI variables can be copied, and which copy is the one that was made."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest.importorskip("lxml")

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.firmware.variables_file import (
    is_ours,
    note_of,
    obstacle,
    past_of,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.uefi_variables import (
    JSON,
    QCOW2,
    RAW,
    Variables,
)
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils._hypervisor.libvirt.firmware.uefi_files import (
    NOW,
    THEN,
    copied,
    file,
)

__all__ = ("file",)


def test_half_of_a_json_file_is_no_copy(file: Path) -> None:
    with pytest.raises(ValueError, match="Expecting"):
        note_of(str(file), JSON)


def test_a_copy_from_a_backup_is_the_copy_still(file: Path) -> None:
    copy = copied(file)
    os.rename(copy.file, copy.file + ".away")
    assert (past_of(copy).past, is_ours(copy)) == ("changed", False)
    Path(copy.file).write_bytes(THEN)
    assert (past_of(copy).past, is_ours(copy)) == ("unchanged", True)
    Path(copy.file).unlink()
    Path(copy.file).write_bytes(NOW)
    assert (past_of(copy).past, is_ours(copy)) == ("changed", False)


def test_a_link_in_its_place_is_not_ours(file: Path) -> None:
    copy = copied(file)
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
    found = obstacle(Variables(str(file), RAW), active)
    assert says in found
    assert bool(found) == bool(says)


def test_a_file_or_directory_that_cannot_be_had_is_told(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "is not there" in obstacle(Variables(str(file) + "x", RAW), False)
    assert "no regular file" in obstacle(Variables(str(file.parent), RAW), False)
    monkeypatch.setattr(os, "access", lambda *_words: False)
    assert "cannot be written" in obstacle(Variables(str(file), QCOW2), False)
