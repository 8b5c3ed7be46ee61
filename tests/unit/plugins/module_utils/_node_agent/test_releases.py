# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.releases import Releases


@pytest.fixture
def releases(tmp_path: Path) -> Releases:
    (tmp_path / "bin").mkdir()
    return Releases(tmp_path / "base", tmp_path / "bin" / "qx-node")


def store(releases: Releases, content: str, used: int = 0) -> str:
    """Put a release there, last used at that second."""
    sha = hashlib.sha256(content.encode()).hexdigest()
    binary = releases.binary(sha)
    binary.parent.mkdir(parents=True)
    binary.write_text(content)
    os.utime(binary.parent, (used, used))
    return sha


def test_a_release_is_what_its_name_says(releases: Releases) -> None:
    sha = store(releases, "one")
    assert releases.stored(sha)
    releases.binary(sha).write_text("another")
    assert not releases.stored(sha)
    assert not releases.stored("0" * 64)


def test_a_plain_file_is_kept_and_the_link_takes_its_place(releases: Releases) -> None:
    releases.path.write_text("by hand")
    by_hand = releases.current()
    one = store(releases, "one")
    releases.keep_current()
    releases.use(one)
    assert releases.is_linked(one)
    assert by_hand is not None
    assert releases.stored(by_hand)
    assert releases.path.read_text() == "one"


def test_a_link_that_leads_elsewhere_is_followed(releases: Releases, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("by hand")
    releases.path.symlink_to(tmp_path / "elsewhere")
    releases.keep_current()
    assert len(releases.all()) == 1
    assert (tmp_path / "elsewhere").read_text() == "by hand"


@pytest.mark.parametrize(
    ("keep", "left"), [(1, {"b", "d"}), (2, {"b", "c", "d"}), (3, {"b", "c", "d"}), (9, {"a", "b", "c", "d"})]
)
def test_the_current_and_the_previous_are_never_pruned(releases: Releases, keep: int, left: set[str]) -> None:
    shas = {name: store(releases, name, used=second) for second, name in enumerate("abcd")}
    # Linked by hand: `use` would make it the one used last.
    releases.path.symlink_to(releases.binary(shas["d"]))
    (releases.base / "previous").symlink_to(f"releases/{shas['b']}")
    releases.prune(keep)
    assert {name for name, sha in shas.items() if releases.stored(sha)} == left
    assert releases.previous() == shas["b"]


def test_a_previous_release_that_is_gone_is_none(releases: Releases) -> None:
    assert releases.previous() is None
    releases.base.mkdir()
    (releases.base / "previous").symlink_to("releases/" + "0" * 64)
    assert releases.previous() is None


def test_what_was_there_first_is_never_pruned_and_comes_back(releases: Releases) -> None:
    releases.path.write_text("by hand")
    releases.path.chmod(0o750)
    first = releases.current()
    for second, name in enumerate(("one", "two", "three")):
        sha = store(releases, name, used=second)
        releases.keep_current()
        releases.use(sha)
        releases.prune(1)
    assert set(releases.all()) == {sha, first}
    releases.leave()
    assert not releases.path.is_symlink()
    assert (releases.path.read_text(), releases.path.stat().st_mode & 0o777) == ("by hand", 0o750)


def test_a_link_comes_back_as_it_was(releases: Releases) -> None:
    (releases.path.parent / "elsewhere").write_text("by hand")
    releases.path.symlink_to("elsewhere")
    one = store(releases, "one")
    releases.keep_current()
    releases.use(one)
    releases.prune(1)
    releases.leave()
    assert os.readlink(releases.path) == "elsewhere"


def test_where_nothing_was_nothing_is_left(releases: Releases) -> None:
    one = store(releases, "one")
    releases.keep_current()
    releases.use(one)
    releases.leave()
    assert not os.path.lexists(releases.path)


def test_a_damaged_release_is_nothing_that_was_there_before(releases: Releases) -> None:
    one = store(releases, "one")
    releases.use(one)
    releases.binary(one).write_text("damaged")
    releases.keep_current()
    releases.leave()
    assert not os.path.lexists(releases.path)


def test_a_binary_that_somebody_deleted_is_not_put_back(releases: Releases) -> None:
    releases.path.write_text("by hand")
    releases.keep_current()
    first = releases.current()
    releases.use(store(releases, "one"))
    releases.forget(first or "")
    releases.leave()
    assert not os.path.lexists(releases.path)


def test_a_note_of_use_leaves_the_order_of_releases(releases: Releases) -> None:
    shas = [store(releases, name, used=second) for second, name in enumerate("ab")]
    assert not releases.is_needed(shas[0])
    releases.note_use(shas[0])
    assert (releases.is_needed(shas[0]), releases.all()) == (True, shas[::-1])
