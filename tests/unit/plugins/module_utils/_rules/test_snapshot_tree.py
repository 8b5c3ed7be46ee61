# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What taking, reverting and removing make of a tree, always one with siblings."""

from __future__ import annotations

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.snapshot_tree import (
    subtree,
    with_current,
    with_taken,
    without,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import Snapshot
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils.values import snapshot

TREE = (
    snapshot("root"),
    snapshot("left", "root"),
    snapshot("leaf", "left"),
    snapshot("right", "root", current=True),
    snapshot("second root"),
)


def drawn(snapshots: tuple[Snapshot, ...]) -> list[str]:
    return [f"{one.name}<{one.parent}{'*' if one.current else ''}" for one in snapshots]


def test_a_new_snapshot_is_a_leaf_and_current() -> None:
    after = with_taken(TREE, snapshot("new", "right", current=True))
    assert drawn(after) == ["root<None", "left<root", "leaf<left", "right<root", "second root<None", "new<right*"]


def test_only_one_snapshot_is_current() -> None:
    assert [one.name for one in with_current(TREE, "leaf") if one.current] == ["leaf"]
    assert [one.name for one in with_current(TREE, "right") if one.current] == ["right"]


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("leaf", ["root<None", "left<root", "right<root*", "second root<None"]),
        ("left", ["root<None", "leaf<root", "right<root*", "second root<None"]),
        ("right", ["root<None*", "left<root", "leaf<left", "second root<None"]),
        ("root", ["left<None", "leaf<left", "right<None*", "second root<None"]),
        ("second root", ["root<None", "left<root", "leaf<left", "right<root*"]),
    ],
)
def test_children_of_a_removed_snapshot_go_to_its_parent(name: str, left: list[str]) -> None:
    assert drawn(without(TREE, name)) == left


def test_the_present_is_based_on_nothing_where_its_root_is_gone() -> None:
    assert drawn(without((snapshot("root", current=True), snapshot("left", "root")), "root")) == ["left<None"]


@pytest.mark.parametrize(
    ("name", "inside"),
    [
        ("root", ["right", "leaf", "left", "root"]),
        ("left", ["leaf", "left"]),
        ("right", ["right"]),
        ("second root", ["second root"]),
    ],
)
def test_a_subtree_is_leaf_first(name: str, inside: list[str]) -> None:
    assert [one.name for one in subtree(TREE, name)] == inside
