# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of a deployment: whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.files import (
    copy_atomically,
    link_atomically,
    sha256_of,
    standing,
    write_atomically,
)


def test_a_file_is_replaced_whole_with_its_mode(tmp_path: Path) -> None:
    file = tmp_path / "unit"
    file.write_text("old")
    write_atomically(file, "new", 0o640)
    assert (file.read_text(), file.stat().st_mode & 0o777) == ("new", 0o640)
    assert os.listdir(tmp_path) == ["unit"]


def test_a_file_that_could_not_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "unit"
    file.write_text("old")

    def fails(_descriptor: int) -> None:
        raise OSError("no room")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match="no room"):
        write_atomically(file, "new", 0o644)
    assert file.read_text() == "old"


def test_a_copy_keeps_rights_and_is_on_the_disk_before_it_takes_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "source").write_text("program")
    (tmp_path / "source").chmod(0o750)
    there: list[bool] = []
    monkeypatch.setattr(os, "fsync", lambda _descriptor: there.append((tmp_path / "copy").exists()))
    copy_atomically(tmp_path / "source", tmp_path / "copy")
    assert there == [False, True]  # the file, and then its name
    assert ((tmp_path / "copy").read_text(), (tmp_path / "copy").stat().st_mode & 0o777) == ("program", 0o750)


def test_a_link_takes_the_place_of_what_was_there(tmp_path: Path) -> None:
    link = tmp_path / "qx-node"
    link.write_text("by hand")
    (tmp_path / ".qx-node.new").write_text("left by a killed run")
    link_atomically(link, "releases/1")
    assert os.readlink(link) == "releases/1"


def test_the_nearest_folder_that_exists_is_found(tmp_path: Path) -> None:
    assert standing(tmp_path / "a/b/c") == tmp_path


def test_a_digest_is_the_one_that_sha256sum_tells(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert sha256_of(tmp_path / "empty").startswith("e3b0c44298fc1c14")
