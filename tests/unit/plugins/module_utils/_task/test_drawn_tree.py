# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots as a tree of text, for the diff."""

from __future__ import annotations

from ansible_collections.limiquantix.kvm.plugins.module_utils._task.drawn_tree import noted_text, tree_text
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils.values import snapshot


def test_children_stand_below_their_parent_and_siblings_beside_each_other() -> None:
    drawn = tree_text([snapshot("a"), snapshot("b", "a", current=True), snapshot("c", "a")])
    assert drawn == "a: disk-only, vda\n  b: disk-only, vda, current\n  c: disk-only, vda\n"


def test_a_snapshot_whose_parent_is_gone_is_drawn_all_the_same() -> None:
    assert tree_text([snapshot("b", "gone")]) == "b: disk-only, vda\n"


def test_labels_and_protection_are_drawn_and_what_is_not_told_is_not() -> None:
    marked = snapshot("a", protected=True, labels={"b": "2", "a": "1"}, include_memory=True, disks=())
    assert tree_text([marked]) == "a: with memory, no disk, protected, a=1, b=2\n"
    assert tree_text([snapshot("a", untold=("include_memory", "disks", "current"))]) == "a\n"


def test_only_notes_that_change_are_told() -> None:
    before = snapshot("a", created_at="1", description="old", expires="2026-01-01")
    after = snapshot("a", created_at="1", description="new")
    assert noted_text([before], [before]) == ""
    assert noted_text([after], [before]) == 'description of a: "new"\na expires: never\n'
    assert noted_text([after], [snapshot("a", created_at="2", description="another one")]) == ""
