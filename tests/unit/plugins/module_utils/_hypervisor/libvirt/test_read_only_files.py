# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that nobody can change are told before anything is changed."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("lxml")

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt import read_only_files
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.read_only_files import (
    refuse_read_only,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError


def mounts(shared: bool = False) -> Any:
    return SimpleNamespace(of=lambda _path: SimpleNamespace(shared=shared))


@pytest.fixture
def file(tmp_path: Path) -> str:
    made = tmp_path / "web01.s1.qcow2"
    made.touch()
    return str(made)


def opening_fails(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def fail(path: str, *_flags: Any) -> int:
        raise OSError(number, os.strerror(number), path)

    monkeypatch.setattr(read_only_files.os, "open", fail)


def test_what_can_be_written_and_deleted_is_let_through(file: str) -> None:
    refuse_read_only("web01", [file], [file], mounts())
    refuse_read_only("web01", [file + ".gone"], [], mounts())


@pytest.mark.parametrize("number", [errno.EPERM, errno.EROFS])
def test_what_nobody_may_write_is_refused_with_the_way_out(
    file: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening_fails(monkeypatch, number)
    with pytest.raises(KvmError) as refused:
        refuse_read_only("web01", [file], [], mounts())
    assert (refused.value.error_code, refused.value.details["file"]) == ("file_read_only", file)
    assert f"chattr -i -a {file}" in refused.value.remedy


def test_what_root_alone_may_not_write_is_left_to_qemu(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opening_fails(monkeypatch, errno.EACCES)  # root_squash of a file server
    refuse_read_only("web01", [file], [file], mounts())


def test_a_device_that_the_kernel_has_as_read_only_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_only_files, "is_device", lambda path: path.startswith("/dev/"))
    monkeypatch.setattr(read_only_files, "is_read_only", lambda path: path == "/dev/vg/ro")
    refuse_read_only("web01", ["/dev/vg/rw"], [], mounts())
    with pytest.raises(KvmError) as refused:
        refuse_read_only("web01", ["/dev/vg/ro"], [], mounts())
    assert (refused.value.error_code, refused.value.details["file"]) == ("file_read_only", "/dev/vg/ro")
    assert "blockdev --setrw /dev/vg/ro" in refused.value.remedy


def test_a_directory_that_takes_files_only_is_refused(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_only_files, "is_append_only", lambda path: path == os.path.dirname(file))
    refuse_read_only("web01", [file], [], mounts())
    with pytest.raises(KvmError, match="nothing in it can be deleted"):
        refuse_read_only("web01", [], [file], mounts())


def test_a_directory_that_nothing_can_be_deleted_in_is_refused(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_only_files.os, "access", lambda *_words: False)
    with pytest.raises(KvmError, match="nothing in it can be deleted"):
        refuse_read_only("web01", [], [file], mounts())
    refuse_read_only("web01", [], [file], mounts(shared=True))
