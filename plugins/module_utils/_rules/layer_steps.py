# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Image layers as a forest: which of them are still needed, and what to do about those that are not.

A snapshot is held by a *frozen* image, which nobody writes to any more; the overlay above it takes what comes later.
Removing the snapshot makes that a *released* one. Then two rules, applied until neither fits, leave the least number of
layers, and every snapshot and the VM's disks read as before:

1. An overlay of ours on which nothing is based, which holds no snapshot and is no disk's active image, is dropped, unless it
   must be kept.
2. A released image on which exactly one overlay of ours is based is merged with it: the overlay's data goes down, and the
   image takes the overlay's place. Not where others' overlays are based on that overlay. Where that overlay is a released
   image itself, the one on it goes down along with it, and so on: data moves once, in one merge.

So an image that two branches share is never written to, and a template that others use is never a released image at all.
An overlay on which somebody else's is based stays, since merging it would have to rewrite that one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Optional, Union

MOST_LAYERS = 200  # of a chain, in every libvirt


@dataclass(frozen=True)
class Drop:
    """Delete an overlay that nothing needs."""

    file: str


@dataclass(frozen=True)
class Merge:
    """Write the data of ``top`` down into ``base``, base those of ``above`` on that, and delete ``top``.

    It goes ``through`` the layers between the two, lowest first: their data goes down along with it, and they are deleted.
    """

    top: str
    base: str
    above: tuple[str, ...]
    through: tuple[str, ...] = ()

    @property
    def gone(self) -> tuple[str, ...]:
        """The layers that are merged away, highest first: whenever deleting them ends, none is left in the air."""
        return (self.top, *reversed(self.through))


Step = Union[Drop, Merge]


@dataclass
class Layers:
    """Images and what they are to a VM, each by a name that is one for each file.

    ``backing`` has every image in question, others' overlays on them too, and what each is backed by. ``frozen`` hold
    snapshots' disks, ``active`` are what disks are on. ``ours`` are overlays that a snapshot or a revert of this VM made,
    ``released`` held snapshots that are gone. ``fixed`` stay what they are: they hold snapshots inside, or somebody
    else needs them. ``kept`` may be merged, since their content goes along, and are never dropped.
    """

    backing: dict[str, Optional[str]]
    frozen: set[str]
    active: set[str]
    ours: set[str]
    released: set[str]
    fixed: set[str] = field(default_factory=set)
    kept: set[str] = field(default_factory=set)

    def copy(self) -> Layers:
        """Return the same once more."""
        return Layers(
            dict(self.backing),
            set(self.frozen),
            set(self.active),
            set(self.ours),
            set(self.released),
            set(self.fixed),
            set(self.kept),
        )

    def above(self, file: str) -> tuple[str, ...]:
        """Return what is based on an image, sorted."""
        return tuple(sorted(one for one, below in self.backing.items() if below == file))

    def next_step(self, merging: bool = True) -> Optional[Step]:
        """Return what to do first; None where every layer is needed. Lowest layers come first: data moves once."""
        for file in sorted(self.backing):
            if self._is_unneeded(file) and not self.above(file):
                return Drop(file)
        return self._next_merge() if merging else None

    def _next_merge(self) -> Optional[Merge]:
        for base in sorted(self.released & self.backing.keys(), key=self._depth):
            if base in self.frozen | self.active | self.fixed:
                continue
            line = self._line_on(base)
            # Where others build upon an overlay, it is not ours alone to take away.
            while line and not self.ours.union(self.active).issuperset(self.above(line[-1])):
                line.pop()
            if line:
                return Merge(line[-1], base, self.above(line[-1]), tuple(line[:-1]))
        return None

    def _line_on(self, base: str) -> list[str]:
        """Return the overlays of ours that may go down into an image in one merge, lowest first: each alone on the one before."""
        line: list[str] = []
        under = base
        while len(above := self.above(under)) == 1 and above[0] in self.ours - self.fixed:
            under = above[0]
            line.append(under)
            if under not in self.released or under in self.frozen | self.active:
                break
        return line

    def done(self, step: Step) -> None:
        """Take note of a step that was done."""
        if isinstance(step, Merge):
            for file in step.above:
                self.backing[file] = step.base
            for role in (self.frozen, self.active):
                if step.top in role:
                    role.add(step.base)
        for file in gone([step]):
            del self.backing[file]
            for role in (self.frozen, self.active, self.ours, self.released):
                role.discard(file)

    def _is_unneeded(self, file: str) -> bool:
        needed = self.frozen | self.active | self.fixed | self.kept
        return file in self.ours and self.backing[file] is not None and file not in needed

    def _depth(self, file: str) -> tuple[int, str]:
        depth, below = 0, self.backing.get(file)
        while below is not None and depth <= len(self.backing):
            depth, below = depth + 1, self.backing.get(below)
        return depth, file


def steps(layers: Layers, merging: bool = True) -> list[Step]:
    """Return all that is to do, in its order; ``layers`` is left as it will be then."""
    found: list[Step] = []
    while (step := layers.next_step(merging)) is not None:
        layers.done(step)
        found.append(step)
    return found


def gone(found: Iterable[Step]) -> tuple[str, ...]:
    """Return the files that steps delete."""
    return tuple(file for step in found for file in ((step.file,) if isinstance(step, Drop) else step.gone))
