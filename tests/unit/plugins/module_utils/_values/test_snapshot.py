# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A snapshot in results, and snapshots in the order of their tree."""

from __future__ import annotations

from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import LeftOut, Snapshot, in_tree_order


def names(*snapshots: Snapshot) -> list[str]:
    return [one.name for one in in_tree_order(snapshots)]


def test_what_the_hypervisor_does_not_tell_is_null_in_the_result() -> None:
    snapshot = Snapshot("s", state="running", untold=("state", "disks"))
    result = snapshot.to_result()
    assert (result["state"], result["disks"], result["name"]) == (None, None, "s")
    assert "untold" not in result
    assert (snapshot.told("state"), snapshot.told("name")) == (None, "s")


def test_a_result_holds_lists_as_json_does() -> None:
    result = Snapshot("s", left_out=(LeftOut("tpm", "its state is a file"),)).to_result()
    assert result["left_out"] == [{"target": "tpm", "reason": "its state is a file"}]
    assert (result["disks"], result["missing_files"], result["past_reasons"]) == ([], [], [])


def test_a_parent_comes_before_its_children_and_siblings_by_their_time() -> None:
    late, early = Snapshot("late", created_at="2", parent="root"), Snapshot("early", created_at="1", parent="root")
    below = Snapshot("below", created_at="3", parent="early")
    assert names(below, late, early, Snapshot("root", created_at="9")) == ["root", "early", "below", "late"]


def test_a_parent_that_is_gone_hides_none_of_its_children() -> None:
    assert names(Snapshot("b", parent="gone"), Snapshot("a")) == ["a", "b"]
