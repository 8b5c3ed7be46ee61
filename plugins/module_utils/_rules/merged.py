# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What merging costs: how much is copied, and how much room that takes at its peak."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.layer_steps import Layers, Step, steps
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.plan import Need


@dataclass(frozen=True)
class Merging:
    """One layer that goes into another: how much of it at most, and by how much the lower one grows at most, in bytes."""

    top: str
    base: str
    copied: int
    grows: int


def cost(merges: Iterable[Merging]) -> tuple[int, tuple[Need, ...]]:
    """Return the bytes that merges copy at most, one after the other, and the room that they need in each directory.

    An upper layer is deleted once it is merged, and what it occupied is free for the next.
    """
    copied = 0
    balance: dict[str, int] = defaultdict(int)
    peak: dict[str, int] = defaultdict(int)
    for one in merges:
        copied += one.copied
        below = os.path.dirname(one.base)
        balance[below] += one.grows
        peak[below] = max(peak[below], balance[below])
        balance[os.path.dirname(one.top)] -= one.copied
    return copied, tuple(Need(directory, size) for directory, size in sorted(peak.items()) if size)


def in_turn(layers: Layers, states: Sequence[Collection[str]]) -> list[Step]:
    """Return what removing snapshots one by one does to layers; ``states`` are the images of each, leaf first.

    ``layers`` are as they are without all of them. What goes down more than once is there as often: a plan for all of them
    together has it once.
    """
    work, found = layers.copy(), []
    for number, going in enumerate(states):
        later = {file for one in states[number + 1 :] for file in one}
        work.frozen = (work.frozen - set(going)) | (layers.frozen & set(going)) | (later & work.backing.keys())
        found += steps(work)
    return found
