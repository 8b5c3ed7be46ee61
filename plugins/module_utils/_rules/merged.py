# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What merging costs: how much is copied, and how much room that takes at its peak; and what is merged together."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.layer_steps import Layers, Merge, Step, steps
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.plan import Need


@dataclass(frozen=True)
class Merging:
    """What goes into an image: how much at most, by how much that grows at most, and what is ``freed`` by file, in bytes."""

    base: str
    copied: int
    grows: int
    freed: Mapping[str, int]


def cost(merges: Iterable[Merging]) -> tuple[int, tuple[Need, ...]]:
    """Return the bytes that merges copy at most, one after the other, and the room that they need in each directory.

    Upper layers are deleted once they are merged, and what they occupied is free for the next.
    """
    copied = 0
    balance: dict[str, int] = defaultdict(int)
    peak: dict[str, int] = defaultdict(int)
    for one in merges:
        copied += one.copied
        below = os.path.dirname(one.base)
        balance[below] += one.grows
        peak[below] = max(peak[below], balance[below])
        for file, size in one.freed.items():
            balance[os.path.dirname(file)] -= size
    return copied, tuple(Need(directory, size) for directory, size in sorted(peak.items()) if size)


def together(states: Sequence[Collection[str]], found: Iterable[Step]) -> list[list[int]]:
    """Return which snapshots are removed at once, because a merge goes through the images of several; the others alone.

    ``states`` are the images of each, leaf first, and so are the numbers that are returned; ``found`` is what removing all of
    them does.
    """
    groups = [{number} for number in range(len(states))]
    for step in found:
        files = {step.base, *step.through} if isinstance(step, Merge) and step.through else set()
        meant = {number for number, images in enumerate(states) if files.intersection(images)}
        joined = [group for group in groups if group & meant]
        if len(joined) > 1:
            groups = [group for group in groups if group not in joined] + [set().union(*joined)]
    return sorted(sorted(group) for group in groups)


def in_turn(layers: Layers, states: Sequence[Collection[str]], groups: Sequence[Collection[int]]) -> list[Step]:
    """Return what removals one after the other do to layers; ``states`` are each snapshot's images, ``groups`` their numbers.

    ``layers`` are as they are without all of them. What goes down more than once is there as often.
    """
    work, found = layers.copy(), []
    removals = [{file for number in group for file in states[number]} for group in groups]
    for number, going in enumerate(removals):
        later = {file for one in removals[number + 1 :] for file in one}
        work.frozen = (work.frozen - going) | (layers.frozen & going) | (later & work.backing.keys())
        found += steps(work)
    return found
