# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What merging copies and needs at most."""

from __future__ import annotations

from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.layer_steps import Drop, Layers, Merge, steps
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.merged import Merging, cost, in_turn, together
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.plan import Need


def chain(frozen: set[str], former: set[str]) -> Layers:
    """base <- s1's overlay <- s2's <- s3's, which the VM is on."""
    backing: dict[str, str | None] = {"base": None, "o1": "base", "o2": "o1", "o3": "o2"}
    return Layers(backing, frozen, {"o3"}, {"o1", "o2", "o3"}, former)


def test_what_an_upper_layer_occupied_is_free_for_the_next() -> None:
    merges = [
        Merging("/a/1", 10, 10, {"/a/2": 10}),
        Merging("/a/0", 15, 12, {"/a/1": 15}),
        Merging("/a/0", 5, 4, {"/b/1": 5}),
    ]
    assert cost(merges) == (30, (Need("/a", 12),))
    assert cost([]) == (0, ())


def test_an_upper_layer_elsewhere_frees_nothing_here() -> None:
    merges = [Merging("/a/1", 10, 10, {"/b/2": 10}), Merging("/a/1", 10, 10, {"/b/3": 10})]
    assert cost(merges) == (20, (Need("/a", 20),))


def test_layers_that_go_down_together_are_all_there_until_the_end() -> None:
    merges = [Merging("/a/0", 20, 20, {"/a/1": 10, "/b/1": 10}), Merging("/a/0", 15, 15, {"/a/2": 15})]
    assert cost(merges) == (35, (Need("/a", 25),))


def test_a_base_that_does_not_grow_needs_no_room() -> None:
    assert cost([Merging("/dev/vg/lv", 10, 0, {"/a/2": 10})]) == (10, ())


def test_one_by_one_data_goes_down_more_than_once() -> None:
    layers = chain(set(), {"base", "o1", "o2"})
    assert in_turn(layers, [{"o2"}, {"o1"}, {"base"}], [[0], [1], [2]]) == [
        Merge("o3", "o2", ()),
        Merge("o2", "o1", ()),
        Merge("o1", "base", ()),
    ]
    assert layers == chain(set(), {"base", "o1", "o2"})
    at_once = [Merge("o3", "base", (), ("o1", "o2"))]
    assert steps(layers.copy()) == at_once
    assert in_turn(layers, [{"o2"}, {"o1"}, {"base"}], [[0, 1, 2]]) == at_once


def test_what_one_merge_goes_through_is_removed_at_once() -> None:
    on_vda, on_vdb = Merge("a3", "a0", (), ("a1", "a2")), Merge("b3", "b2", ())
    alone = [Drop("x"), Merge("a1", "a0", ("a2",))]
    states = [{"a2", "b2"}, {"a1"}, {"a0", "b0"}, {"c"}]
    assert together(states, [on_vda, on_vdb]) == [[0, 1, 2], [3]]
    assert together(states, alone) == [[0], [1], [2], [3]]
    # One joins two others by another of its disks.
    more = [Merge("a3", "a1", (), ("a2",)), Merge("c2", "b0", (), ("c",))]
    assert together([{"a2", "b0"}, {"a1"}, {"c"}], more) == [[0, 1, 2]]
    assert together([], []) == []


def test_what_a_snapshot_that_stays_holds_is_not_written_to() -> None:
    assert in_turn(chain({"o1"}, {"base", "o2"}), [{"o2"}, {"base"}], [[0], [1]]) == [
        Merge("o3", "o2", ()),
        Merge("o1", "base", ("o2",)),
    ]
    # Two snapshots of one image, one of which stays.
    assert in_turn(chain({"o2"}, {"o2"}), [{"o2"}], [[0]]) == []


def test_what_nothing_needs_is_dropped_and_costs_nothing() -> None:
    layers = Layers({"base": None, "aside": "base", "top": "base"}, set(), {"top"}, {"aside", "top"}, {"base"})
    assert in_turn(layers, [{"base"}], [[0]]) == [Drop("aside"), Merge("top", "base", ())]
