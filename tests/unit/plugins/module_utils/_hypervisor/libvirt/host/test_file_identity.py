# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a file still is the one that was noted, and that two names of one file are one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.file_identity import (
    file_key,
    identity,
    is_append_only,
    is_device,
    is_same,
    known_as,
    noted_as,
)


def test_a_file_is_the_one_that_was_noted_until_another_has_its_name(tmp_path: Path) -> None:
    file = tmp_path / "overlay"
    file.write_text("one")
    noted = identity(str(file))
    assert noted
    file.write_text("more of it")
    assert is_same(noted, str(file))
    (tmp_path / "other").write_text("another")
    os.replace(tmp_path / "other", file)
    assert not is_same(noted, str(file))


def test_an_inode_that_was_given_anew_is_another_file(tmp_path: Path) -> None:
    file = tmp_path / "overlay"
    file.touch()
    noted = identity(str(file))
    assert noted
    if noted[1] is None:
        pytest.skip("this file system keeps no moment of birth")
    assert not is_same([noted[0], noted[1] - 1], str(file))
    assert is_same([noted[0], None], str(file))


def test_what_is_not_known_tells_nothing_apart(tmp_path: Path) -> None:
    (tmp_path / "overlay").touch()
    assert is_same(None, str(tmp_path / "overlay"))
    assert is_same([1, 1], str(tmp_path / "gone"))


def test_two_names_of_one_file_are_one(tmp_path: Path) -> None:
    file, link, hard = tmp_path / "file", tmp_path / "link", tmp_path / "hard"
    file.touch()
    link.symlink_to(file)
    os.link(file, hard)
    assert file_key(str(file))
    assert file_key(str(file)) == file_key(str(link)) == file_key(str(hard))
    assert known_as(str(link)) == noted_as(str(link)) == str(file)
    assert file_key(str(tmp_path / "gone")) is None
    assert known_as(str(tmp_path / "gone")) == str(tmp_path / "gone")


def test_only_a_block_device_is_a_device(tmp_path: Path) -> None:
    assert not is_device(str(tmp_path))
    assert not is_device("/dev/null")
    assert not is_device(str(tmp_path / "gone"))


def test_only_what_has_that_attribute_is_append_only(tmp_path: Path) -> None:
    assert not is_append_only(str(tmp_path))
    assert not is_append_only(str(tmp_path / "gone"))
