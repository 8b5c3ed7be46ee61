# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel tells of a directory, and when it is to be listed all the same."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Optional

import pytest

pytest.importorskip("lxml")
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.overlays import image_directory
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.overlays.image_directory import (
    Directory,
    DirectoryChanges,
)

LIST_IT = None


def since(changes: DirectoryChanges, directory: Path, kind: str = "ext4") -> Optional[set[str]]:
    return changes.since(str(directory), os.stat(directory), kind)


@pytest.fixture
def watched(tmp_path: Path) -> tuple[DirectoryChanges, Path]:
    home = tmp_path / "home"
    home.mkdir()
    (home / "there").touch()
    changes = DirectoryChanges()
    assert since(changes, home) is LIST_IT
    assert since(changes, home) == set()
    return changes, home


def test_what_comes_goes_and_takes_anothers_place_is_told_once(watched: tuple[DirectoryChanges, Path]) -> None:
    changes, home = watched
    (home / "new").touch()
    (home / "there").rename(home / "moved")
    os.symlink("moved", home / "link")
    assert since(changes, home) == {"new", "there", "moved", "link"}
    assert since(changes, home) == set()
    os.replace(home / "moved", home / "new")
    (home / "link").unlink()
    assert since(changes, home) == {"new", "moved", "link"}


def test_what_is_written_into_a_file_is_not_told(watched: tuple[DirectoryChanges, Path]) -> None:
    changes, home = watched
    (home / "there").write_text("more")
    assert since(changes, home) == set()


@pytest.mark.parametrize("how", ["made again", "another one", "moved away"])
def test_another_directory_of_that_path_is_listed(watched: tuple[DirectoryChanges, Path], how: str) -> None:
    changes, home = watched
    if how == "another one":
        home.rename(home.parent / "away")
    elif how == "moved away":
        home.parent.rename(home.parent.parent / "elsewhere")
        home.parent.mkdir()
    else:
        (home / "there").unlink()
        home.rmdir()
    home.mkdir()
    assert since(changes, home) is LIST_IT
    (home / "new").touch()
    assert since(changes, home) == {"new"}


@pytest.mark.parametrize("kind", ["nfs4", "fuse.glusterfs", "9p", ""])
def test_of_a_file_system_that_others_change_nothing_is_told(watched: tuple[DirectoryChanges, Path], kind: str) -> None:
    changes, home = watched
    assert since(changes, home, kind) is LIST_IT


def test_where_more_happened_than_the_kernel_keeps_everything_is_listed(
    watched: tuple[DirectoryChanges, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    changes, home = watched
    overflow = image_directory._EVENT.pack(-1, image_directory._OVERFLOW, 0, 0)
    told = iter([overflow])

    def read(_file: int, _most: int) -> bytes:
        try:
            return next(told)
        except StopIteration:
            raise BlockingIOError from None

    with monkeypatch.context() as patch:
        patch.setattr(image_directory.os, "read", read)
        assert since(changes, home) is LIST_IT
    (home / "new").touch()
    assert since(changes, home) == {"new"}


def test_a_kernel_that_tells_nothing_leaves_all_to_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DirectoryChanges, "_begin", lambda *_: None)
    changes = DirectoryChanges()
    for _time in range(2):
        assert since(changes, tmp_path) is LIST_IT


def test_a_directory_with_two_paths_is_told_of_by_the_first_alone(watched: tuple[DirectoryChanges, Path]) -> None:
    changes, home = watched
    link = home.parent / "link"  # as a bind mount would show it
    os.symlink("home", link)
    for _time in range(2):
        assert since(changes, link) is LIST_IT
    (home / "new").touch()
    assert since(changes, link) is LIST_IT
    assert since(changes, home) == {"new"}


def test_only_what_changed_is_looked_at_where_that_is_enough(tmp_path: Path) -> None:
    for name in ("image", "other"):
        (tmp_path / name).touch()
    known = Directory(listed={str(tmp_path / name): os.stat(tmp_path / name).st_ino for name in ("image", "other")})
    (tmp_path / "image").unlink()
    (tmp_path / "new").touch()
    entries, looked_at = known.entries(str(tmp_path), {"image", "new"})
    assert [path for path, _inode in entries] == [str(tmp_path / "new")]
    assert looked_at == {str(tmp_path / "image"), str(tmp_path / "new")}
    known.headers = dict.fromkeys(known.listed)  # type: ignore[assignment]
    assert known.forget(entries, looked_at, thorough=False) == {str(tmp_path / "image")}
    assert set(known.listed) == {str(tmp_path / "other")}


@pytest.mark.parametrize("why", ["a link may be gone", "something could not be read"])
def test_all_is_looked_at_where_what_changed_is_not_enough(tmp_path: Path, why: str) -> None:
    (tmp_path / "other").touch()
    known = Directory(unknown="x cannot be read" if why.startswith("something") else "")
    names = {"gone"} if not known.unknown else set()
    entries, looked_at = known.entries(str(tmp_path), names)
    assert ([path for path, _inode in entries], looked_at) == ([str(tmp_path / "other")], None)
