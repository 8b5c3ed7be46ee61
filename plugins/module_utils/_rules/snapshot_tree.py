# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What taking, reverting and removing make of a VM's tree of snapshots, the same for every backend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import Snapshot, in_tree_order


def with_taken(snapshots: Sequence[Snapshot], taken: Snapshot) -> tuple[Snapshot, ...]:
    """Return the tree with a snapshot more, which the present is based on now."""
    return (*(replace(one, current=False) for one in snapshots), taken)


def with_current(snapshots: Sequence[Snapshot], name: str) -> tuple[Snapshot, ...]:
    """Return the tree with the present based on that snapshot."""
    return tuple(replace(one, current=one.name == name) for one in snapshots)


def without(snapshots: Sequence[Snapshot], name: str) -> tuple[Snapshot, ...]:
    """Return the tree without a snapshot: its parent takes its children, and the present where that was based on it."""
    gone = next(one for one in snapshots if one.name == name)
    left = [
        replace(
            one,
            parent=gone.parent if one.parent == name else one.parent,
            current=one.current or (gone.current and one.name == gone.parent),
        )
        for one in snapshots
        if one.name != name
    ]
    return in_tree_order(left)


def subtree(snapshots: Sequence[Snapshot], name: str) -> tuple[Snapshot, ...]:
    """Return a snapshot and all that are based on it, each after those based on it: leaf first."""
    inside = {name}
    for one in snapshots:  # in tree order: a parent comes before its children
        if one.parent in inside:
            inside.add(one.name)
    return tuple(reversed([one for one in snapshots if one.name in inside]))
