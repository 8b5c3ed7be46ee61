# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Layers of small trees, one by one: each that goes or is merged, and each that stays for somebody else."""

from __future__ import annotations

from typing import Optional

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.layer_steps import (
    Drop,
    Layers,
    Merge,
    Step,
    steps,
)

CHAIN: dict[str, Optional[str]] = {"root": None, "a": "root", "b": "a"}


def layers(backing: dict[str, Optional[str]], **values: set[str]) -> Layers:
    nobody: dict[str, set[str]] = {"frozen": set(), "active": set(), "ours": set(), "released": set()}
    return Layers(**{"backing": dict(backing), **nobody, **values})


@pytest.mark.parametrize(
    ("values", "backing", "found"),
    [
        # The leaf, the middle and the root of two snapshots in a row.
        ({"frozen": {"root"}, "released": {"a"}}, CHAIN, [Merge("b", "a", ())]),
        ({"frozen": {"a"}, "released": {"root"}}, CHAIN, [Merge("a", "root", ("b",))]),
        ({"released": {"root", "a"}}, CHAIN, [Merge("b", "root", (), ("a",))]),
        (
            {"released": {"root", "a"}, "frozen": {"b"}, "active": {"c"}, "ours": {"a", "b", "c"}},
            {**CHAIN, "c": "b"},
            [Merge("b", "root", ("c",), ("a",))],
        ),
        # Others build upon the upper one: it stays, and what is under it goes.
        ({"released": {"root", "a"}, "active": set()}, {**CHAIN, "x": "b"}, [Merge("a", "root", ("b",))]),
        # Nobody's state, but another branch reads it.
        ({"frozen": {"a"}, "released": {"root"}}, {**CHAIN, "c": "root"}, []),
        # Somebody else's overlay on it, or on what would be moved down.
        ({"released": {"root", "a"}}, {**CHAIN, "x": "root"}, [Merge("b", "a", ())]),
        ({"released": {"root"}, "frozen": {"a"}}, {**CHAIN, "x": "a"}, []),
        # Snapshots inside an image.
        ({"released": {"root", "a"}, "fixed": {"a"}}, CHAIN, []),
        ({"released": {"root"}, "frozen": {"a"}, "fixed": {"root"}}, CHAIN, []),
        # An overlay that nothing needs, and one below it.
        ({"ours": {"a", "b", "c", "d"}, "frozen": {"root"}}, {**CHAIN, "c": "a", "d": "c"}, [Drop("d"), Drop("c")]),
        ({"ours": {"a", "b", "root"}, "active": {"root"}}, CHAIN, [Drop("b"), Drop("a")]),
        # What was never ours.
        ({"ours": set(), "active": {"root"}}, CHAIN, []),
        ({"ours": {"a"}, "released": {"a"}}, CHAIN, []),
        ({"released": {"gone"}}, CHAIN, []),
    ],
)
def test_a_layer_goes_only_where_nobody_needs_it(
    values: dict[str, set[str]], backing: dict[str, Optional[str]], found: list[Step]
) -> None:
    assert steps(layers(backing, **{"active": {"b"}, "ours": {"a", "b"}, **values})) == found


def test_a_revert_merges_nothing() -> None:
    known = layers({**CHAIN, "c": "root"}, active={"c"}, ours={"a", "b", "c"}, released={"root"})
    assert steps(known, merging=False) == [Drop("b"), Drop("a")]
    assert steps(known) == [Merge("c", "root", ())]
    assert (known.active, known.backing, known.ours) == ({"root"}, {"root": None}, set())
