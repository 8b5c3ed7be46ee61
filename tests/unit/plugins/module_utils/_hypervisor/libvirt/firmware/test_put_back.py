# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""UEFI variables and TPMs that are put back, undone, and what a run that was killed anywhere leaves."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Callable

import pytest

pytest.importorskip("lxml")

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.firmware import like_another
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.firmware import put_back as put
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.firmware.put_back import (
    close,
    differs,
    lacks,
    put_back,
    undo,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.firmware_notes import FirmwareReturn
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils._hypervisor.libvirt.firmware.firmware_files import (
    NOW,
    THEN,
    copied,
    copy_of,
    file,
    lying_there,
    part_of,
    returning,
    states,
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
    assert lying_there(file) == {file, copy_of(file)}


def test_what_was_there_goes_when_there_is_no_way_back(file: Path) -> None:
    copy = copied(file)
    back = returning(file, copy)
    put_back("web01", back, copy)
    assert Path(back[part_of(file)].was).read_bytes() == NOW
    close(back)
    close(back)
    assert lying_there(file) == {file, copy_of(file)}


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


@pytest.mark.parametrize("step", ["_keep", "make_like", "write", "os.rename", "sync_directory"])
@pytest.mark.parametrize("afterwards", [False, True])
def test_a_run_killed_at_any_step_is_gone_on_with_or_undone(
    file: Path, monkeypatch: pytest.MonkeyPatch, step: str, afterwards: bool
) -> None:
    copy = copied(file)
    back = returning(file, copy)
    owner, name = {"os.rename": (os, "rename"), "write": (like_another, step)}.get(step, (put, step))
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
    assert lying_there(file) == {file, copy_of(file)}


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
    assert back[part_of(file)].was == ""
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
    undo(back, copy if known else {})
    assert file.read_bytes() == b"theirs"


def test_a_copy_that_changes_at_the_last_moment_is_not_put_back(file: Path) -> None:
    copy = copied(file)
    back = returning(file, copy)
    copy_of(file).write_bytes(THEN[:-1] + b"X")
    failed = put_back("web01", back, copy)
    assert failed is not None
    assert "has just been changed" in failed.message
    assert file.read_bytes() == NOW


def test_states_that_belong_to_another_one_are_put_aside(file: Path) -> None:
    """Swtpm would load them with the copy: a TPM that resumes where it never was."""
    (state,) = states(file).values()
    for one in state.aside:
        Path(one).write_bytes(b"poison")
    copy = copied(file)
    back = returning(file, copy)
    assert put_back("web01", back, copy) is None
    assert not any(map(os.path.exists, state.aside))
    undo(back, copy)
    assert all(Path(one).read_bytes() == b"poison" for one in state.aside)
    assert lying_there(file) == {file, copy_of(file), *map(Path, state.aside)}
    file.write_bytes(THEN)
    assert differs(back, copy) == bool(state.aside), "the same state, and yet another TPM"
    put_back("web01", back, copy)
    close(back)
    assert lying_there(file) == {file, copy_of(file)}


def test_a_vm_that_was_started_by_the_killed_run_lacks_nothing(file: Path) -> None:
    """A TPM changes its state as soon as it is used: it differs from the copy then, and was put back all the same."""
    copy = copied(file)
    back = returning(file, copy)
    assert lacks(back, copy)
    put_back("web01", back, copy)
    file.write_bytes(b"later")
    assert (differs(back, copy), lacks(back, copy)) == (True, False)


def test_a_vm_that_somebody_started_just_before_may_lack_it(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = copied(file)
    back = returning(file, copy)
    rename = os.rename

    def killed(source: str, target: str) -> None:
        if target == str(file):
            raise KilledError
        rename(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", killed)
        with pytest.raises(KilledError):
            put_back("web01", back, copy)
    rename(str(file), str(file) + ".x")
    file.write_bytes(b"the VM's, as it was started with what it had")
    assert lacks(back, copy)


def test_nothing_is_waited_for_where_nothing_was_put_back(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Swtpm has its lock as long as the VM runs, and the undoing of a revert that never stopped it must not wait for that."""

    def taken(*_words: str) -> None:
        raise OSError("a swtpm process still has it")

    copy = copied(file)
    back = returning(file, copy)
    monkeypatch.setattr(put, "let_go", taken)
    undo(back, copy)
    assert file.read_bytes() == NOW
    assert put_back("web01", back, copy) is not None


def test_a_part_without_its_copy_is_an_error(file: Path) -> None:
    back = returning(file, copied(file))
    failed = put_back("web01", back, {})
    assert failed is not None
    assert "no copy any more" in failed.message


def test_a_return_of_an_earlier_release_is_closed(tmp_path: Path) -> None:
    (tmp_path / "was").write_bytes(NOW)
    close({"nvram": FirmwareReturn("/no/file", str(tmp_path / "new"), str(tmp_path / "was"))})
    assert list(tmp_path.iterdir()) == []
