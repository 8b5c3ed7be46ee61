# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What merging copies and needs at most."""

from __future__ import annotations

from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.layer_steps import Drop, Layers, Merge, steps
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.merged import Merging, cost, in_turn
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.plan import Need


def chain(frozen: set[str], former: set[str]) -> Layers:
    """base <- s1's overlay <- s2's <- s3's, which the VM is on."""
    backing: dict[str, str | None] = {"base": None, "o1": "base", "o2": "o1", "o3": "o2"}
    return Layers(backing, frozen, {"o3"}, {"o1", "o2", "o3"}, former)


def test_what_an_upper_layer_occupied_is_free_for_the_next() -> None:
    merges = [Merging("/a/2", "/a/1", 10, 10), Merging("/a/1", "/a/0", 15, 12), Merging("/b/1", "/a/0", 5, 4)]
    assert cost(merges) == (30, (Need("/a", 12),))
    assert cost([]) == (0, ())


def test_an_upper_layer_elsewhere_frees_nothing_here() -> None:
    merges = [Merging("/b/2", "/a/1", 10, 10), Merging("/b/3", "/a/1", 10, 10)]
    assert cost(merges) == (20, (Need("/a", 20),))


def test_a_base_that_does_not_grow_needs_no_room() -> None:
    assert cost([Merging("/a/2", "/dev/vg/lv", 10, 0)]) == (10, ())


def test_one_by_one_data_goes_down_more_than_once() -> None:
    layers = chain(set(), {"base", "o1", "o2"})
    assert in_turn(layers, [{"o2"}, {"o1"}, {"base"}]) == [
        Merge("o3", "o2", ()),
        Merge("o2", "o1", ()),
        Merge("o1", "base", ()),
    ]
    assert layers == chain(set(), {"base", "o1", "o2"})
    together = steps(layers.copy())
    assert [step.base for step in together if isinstance(step, Merge)] == ["base", "base", "base"]


def test_what_a_snapshot_that_stays_holds_is_not_written_to() -> None:
    assert in_turn(chain({"o1"}, {"base", "o2"}), [{"o2"}, {"base"}]) == [
        Merge("o3", "o2", ()),
        Merge("o1", "base", ("o2",)),
    ]
    # Two snapshots of one image, one of which stays.
    assert in_turn(chain({"o2"}, {"o2"}), [{"o2"}]) == []


def test_what_nothing_needs_is_dropped_and_costs_nothing() -> None:
    layers = Layers({"base": None, "aside": "base", "top": "base"}, set(), {"top"}, {"aside", "top"}, {"base"})
    assert in_turn(layers, [{"base"}]) == [Drop("aside"), Merge("top", "base", ())]
