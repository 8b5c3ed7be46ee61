# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""UEFI variables that are put back, undone, and what a run that was killed anywhere leaves."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Callable

import pytest

pytest.importorskip("lxml")

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.libraries import parse
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.firmware import put_back as put
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.firmware.put_back import (
    close,
    differs,
    plan_return,
    put_back,
    undo,
)
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils._hypervisor.libvirt.firmware.uefi_files import (
    NOW,
    THEN,
    copied,
    file,
    returning,
    xml,
)

__all__ = ("file",)


def test_variables_are_put_back_with_their_access_and_can_be_undone(file: Path) -> None:
    copy = copied(file)
    inode = file.stat().st_ino
    back = returning(file, copy)
    assert differs(back, copy)
    assert put_back("web01", back, copy) is None
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (THEN, 0o640)
    assert not differs(back, copy)
    undo(back, copy)
    assert (file.read_bytes(), file.stat().st_ino) == (NOW, inode)
    assert set(file.parent.iterdir()) == {file, Path(copy.file)}


def test_what_was_there_goes_when_there_is_no_way_back(file: Path) -> None:
    copy = copied(file)
    back = returning(file, copy)
    put_back("web01", back, copy)
    assert Path(back.was).read_bytes() == NOW
    close(back)
    close(back)
    assert set(file.parent.iterdir()) == {file, Path(copy.file)}


def test_a_file_system_without_links_keeps_a_copy(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_words: Any) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", refused)
    copy = copied(file)
    back = returning(file, copy)
    assert put_back("web01", back, copy) is None
    undo(back, copy)
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (NOW, 0o640)


class KilledError(Exception):
    pass


@pytest.mark.parametrize("step", ["_keep", "_make_like", "write", "os.rename", "sync_directory"])
@pytest.mark.parametrize("afterwards", [False, True])
def test_a_run_killed_at_any_step_is_gone_on_with_or_undone(
    file: Path, monkeypatch: pytest.MonkeyPatch, step: str, afterwards: bool
) -> None:
    copy = copied(file)
    back = returning(file, copy)
    owner, name = (os, "rename") if step == "os.rename" else (put, step)
    real: Callable[..., None] = getattr(owner, name)

    def killed(*words: Any) -> None:
        if afterwards:
            real(*words)
        raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr(owner, name, killed)
        with pytest.raises(KilledError):
            put_back("web01", back, copy)
    for _again in range(2):
        assert put_back("web01", back, copy) is None
    assert file.read_bytes() == THEN
    undo(back, copy)
    assert file.read_bytes() == NOW
    assert set(file.parent.iterdir()) == {file, Path(copy.file)}


def test_what_the_guest_wrote_after_a_killed_run_stays(file: Path) -> None:
    copy = copied(file)
    back = returning(file, copy)
    put_back("web01", back, copy)
    file.write_bytes(b"later")
    assert put_back("web01", back, copy) is None
    assert file.read_bytes() == b"later"


def test_a_vm_whose_file_is_gone_gets_it_back_and_loses_it_where_that_is_undone(file: Path) -> None:
    copy = copied(file)
    file.unlink()
    back = returning(file, copy)
    assert back.was == ""
    assert put_back("web01", back, copy) is None
    assert file.read_bytes() == THEN
    undo(back, copy)
    assert not file.exists()


@pytest.mark.parametrize("known", [True, False])
def test_a_file_that_somebody_made_meanwhile_stays(file: Path, known: bool) -> None:
    copy = copied(file)
    file.unlink()
    back = returning(file, copy)
    file.write_bytes(b"theirs")
    undo(back, copy if known else None)
    assert file.read_bytes() == b"theirs"


def test_a_copy_that_changes_at_the_last_moment_is_not_put_back(file: Path) -> None:
    copy = copied(file)
    back = returning(file, copy)
    Path(copy.file).write_bytes(b"X" * len(THEN))
    failed = put_back("web01", back, copy)
    assert failed is not None
    assert "has just been changed" in failed.message
    assert file.read_bytes() == NOW


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        ("copy", "is not as it was when it was copied"),
        ("format", "has another format"),
        ("none", "has no copy of them"),
    ],
)
def test_variables_that_stay_are_told(file: Path, spoil: str, says: str) -> None:
    copy = copied(file)
    if spoil == "copy":
        Path(copy.file).write_bytes(b"X")
    if spoil == "format":
        file.write_bytes(b"QFI\xfb\0\0\0\3" + bytes(8))
    back, told = plan_return(
        xml(file), None if spoil == "none" else copy, loads_memory=False, unused=os.path.join, used_by=lambda _file: ""
    )
    assert back is None
    assert told[0].startswith("the UEFI variables stay as they are now, because")
    assert says in told[0]


def test_memory_and_a_vm_without_uefi_need_none(file: Path) -> None:
    copy = copied(file)
    assert plan_return(xml(file), copy, loads_memory=True, unused=os.path.join, used_by=lambda _file: "") == (None, ())
    assert plan_return(parse("<domain/>"), copy, loads_memory=False, unused=os.path.join, used_by=lambda _file: "") == (
        None,
        (),
    )


def test_a_file_that_another_vm_uses_too_stays(file: Path) -> None:
    """Somebody has cloned the VM by its definition alone: the other one may run on these variables."""
    copy = copied(file)
    back, told = plan_return(xml(file), copy, loads_memory=False, unused=os.path.join, used_by=lambda _file: "VM clone")
    assert back is None
    assert "is used by VM clone too" in told[0]
