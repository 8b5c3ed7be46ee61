# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Layers: whatever was taken, reverted, removed and built upon by others, everybody reads what they read before."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any, Optional

from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.layer_steps import (
    Drop,
    Layers,
    Merge,
    Step,
    gone,
    steps,
)

Content = dict[int, int]


@dataclass
class Disk:
    """A disk's images with their data by cluster, as people and this collection treat them.

    ``snapshots`` has the state and the overlay of each. ``others`` are overlays that somebody else has made.
    """

    data: dict[str, Content] = field(default_factory=lambda: {"root": {0: 0}})
    backing: dict[str, Optional[str]] = field(default_factory=lambda: {"root": None})
    present: str = "root"
    snapshots: dict[str, tuple[str, str]] = field(default_factory=dict)
    overlays: set[str] = field(default_factory=set)
    released: set[str] = field(default_factory=set)
    others: set[str] = field(default_factory=set)
    fixed: set[str] = field(default_factory=set)
    made: int = 0

    def read(self, file: str) -> Content:
        below = self.backing[file]
        return {**(self.read(below) if below else {}), **self.data[file]}

    def everything(self) -> dict[str, Content]:
        """Return what everybody reads: the VM, whoever reverts to a snapshot, the owners of other overlays."""
        states = {name: self.read(state) for name, (state, _overlay) in self.snapshots.items()}
        return {"": self.read(self.present), **states, **{file: self.read(file) for file in self.others}}

    def add(self, below: str, kind: str) -> str:
        self.made += 1
        file = f"{kind}{self.made:03}"
        self.backing[file], self.data[file] = below, {}
        return file

    def layers(self) -> Layers:
        return Layers(
            backing=dict(self.backing),
            frozen={state for state, _overlay in self.snapshots.values()},
            active={self.present},
            ours=(self.overlays | {overlay for _state, overlay in self.snapshots.values()}) & self.backing.keys(),
            released=set(self.released),
            fixed=set(self.fixed),
        )

    def write(self, cluster: int) -> None:
        self.made += 1
        self.data[self.present][cluster] = self.made

    def take(self) -> None:
        overlay = self.add(self.present, "o")
        self.snapshots[f"s{self.made}"] = (self.present, overlay)
        self.present = overlay

    def revert(self, number: int) -> None:
        if self.snapshots:
            name = sorted(self.snapshots)[number % len(self.snapshots)]
            self.present = self.add(self.snapshots[name][0], "o")
            self.overlays.add(self.present)
            self.do(steps(self.layers(), merging=False))

    def remove(self, number: int) -> None:
        if self.snapshots:
            self.forget(sorted(self.snapshots)[number % len(self.snapshots)])
            self.do(steps(self.layers()))

    def forget(self, name: str) -> None:
        state, overlay = self.snapshots.pop(name)
        self.released.add(state)
        if overlay in self.backing:
            self.overlays.add(overlay)

    def build_upon(self, number: int) -> None:
        """Somebody else makes an overlay on any image that nobody writes to."""
        still = sorted(set(self.backing) - {self.present} - self.others)
        if still:
            file = self.add(still[number % len(still)], "x")
            self.data[file] = {9: self.made}
            self.others.add(file)

    def fix(self, number: int) -> None:
        """Somebody takes a snapshot inside an image."""
        self.fixed.add(sorted(self.backing)[number % len(self.backing)])

    def do(self, found: list[Step]) -> None:
        for step in found:
            before = self.everything()
            self._drop(step.file) if isinstance(step, Drop) else self._merge(step)
            assert self.everything() == before, step

    def _drop(self, file: str) -> None:
        assert file not in self.backing.values()
        self._forget_file(file)

    def _merge(self, step: Merge) -> None:
        """Do as qemu-img does; refuse what would write to what is shared, or is not ours."""
        base, top = step.base, step.top
        under = base
        for file in (*step.through, top):
            assert under in self.released
            assert [one for one, below in self.backing.items() if below == under] == [file], "a base with two branches"
            under = file
        assert {one for one, below in self.backing.items() if below == top} == set(step.above)
        assert not self.others.intersection({base, *step.gone, *step.above}), "not ours to write"
        for file in (*step.through, top):
            self.data[base].update(self.data[file])
        for file in step.above:
            self.backing[file] = base
        self.snapshots = {
            name: (base if state == top else state, overlay) for name, (state, overlay) in self.snapshots.items()
        }
        if self.present == top:
            self.present = base
        for file in step.gone:
            self._forget_file(file)

    def _forget_file(self, file: str) -> None:
        assert file not in self.others | self.fixed | {"root", self.present}
        assert file not in {state for state, _overlay in self.snapshots.values()}
        del self.backing[file], self.data[file]
        self.overlays.discard(file)
        self.released.discard(file)

    def check_least(self) -> None:
        """Where nobody else has a hand in it, only the root, the states, what is shared and the present are left."""
        states = {state for state, _overlay in self.snapshots.values()}
        shared = {file for file in self.backing if list(self.backing.values()).count(file) > 1}
        assert set(self.backing) <= {"root", self.present} | states | shared | self._above(states | shared)

    def _above(self, files: set[str]) -> set[str]:
        return {file for file, below in self.backing.items() if below in files}


OPERATION = st.one_of(
    st.tuples(st.just("write"), st.integers(0, 3)),
    st.tuples(st.just("take")),
    st.tuples(st.sampled_from(["revert", "remove"]), st.integers(0, 9)),
)
BY_OTHERS = st.one_of(OPERATION, st.tuples(st.sampled_from(["build_upon", "fix"]), st.integers(0, 9)))
PATIENT = settings(deadline=None, database=None, max_examples=300)


def lived(history: list[tuple[Any, ...]]) -> Disk:
    disk = Disk()
    for operation, *arguments in history:
        getattr(disk, operation)(*arguments)
    return disk


@PATIENT
@given(st.lists(BY_OTHERS, max_size=30))
def test_everybody_reads_what_they_read_before(history: list[tuple[Any, ...]]) -> None:
    disk = lived(history)  # every step is checked when it is done
    assert steps(disk.layers(), merging=False) == []  # nothing that is not needed is left


@PATIENT
@given(st.lists(OPERATION, max_size=30))
def test_the_least_is_left(history: list[tuple[Any, ...]]) -> None:
    disk = lived([*history, ("take",), ("remove", 0)])
    assert steps(disk.layers()) == []
    disk.check_least()
    while disk.snapshots:
        disk.remove(len(disk.snapshots) - 1)
    assert list(disk.backing) == ["root"]
    assert disk.present == "root"


@PATIENT
@given(st.lists(OPERATION, max_size=20), st.sets(st.integers(0, 9)))
def test_many_removed_at_once_are_many_one_by_one(history: list[tuple[Any, ...]], chosen: set[int]) -> None:
    disk = lived(history)
    names = [name for number, name in enumerate(sorted(disk.snapshots)) if number in chosen]
    files: set[str] = set()
    one_by_one = copy.deepcopy(disk)
    for name in reversed(names):
        one_by_one.forget(name)
        found = steps(one_by_one.layers())
        one_by_one.do(found)
        files |= set(gone(found))
    for name in names:
        disk.forget(name)
    found = steps(disk.layers())
    if names:
        assert set(gone(found)) == files
        disk.do(found)
        assert disk.backing == one_by_one.backing


@PATIENT
@given(st.lists(BY_OTHERS, max_size=20), st.integers(0, 9), st.integers(0, 5))
def test_steps_can_be_found_again_after_any_of_them(history: list[tuple[Any, ...]], chosen: int, done: int) -> None:
    disk = lived(history)
    if not disk.snapshots:
        return
    disk.forget(sorted(disk.snapshots)[chosen % len(disk.snapshots)])
    found = steps(disk.layers())
    disk.do(found[:done])
    assert steps(disk.layers()) == found[done:]
