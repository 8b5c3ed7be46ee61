# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Draw what taking, reverting and removing do to a disk's images, into the pictures of the guides.

What is left afterwards is not drawn by hand: `_rules/layer_steps.py`, by which the collection itself goes, says it. A unit
test says when it has to be run again, with .cache/collections in PYTHONPATH.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Optional
from xml.sax.saxutils import escape

from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.layer_steps import Layers, Merge, steps

IMAGES = Path(__file__).resolve().parents[2] / "docs" / "docsite" / "rst" / "images"
BASE, PATCH, UPGRADE, BACK = (
    "web01.qcow2",
    "web01.vda.pre-patch.qcow2",
    "web01.vda.pre-upgrade.qcow2",
    "web01.vda.back.qcow2",
)


@dataclass(frozen=True)
class Disk:
    """A disk's images, and which snapshot a frozen one holds."""

    layers: Layers
    holds: dict[str, str]

    def on(self, base: str, overlay: str, holds: Optional[dict[str, str]] = None) -> Disk:
        """Return it with a new overlay, to which the VM writes now."""
        layers = self.layers.copy()
        layers.backing[overlay] = base
        layers.ours.add(overlay)
        layers.active = {overlay}
        layers.frozen.update(holds or {})
        return Disk(layers, {**self.holds, **(holds or {})})

    def without(self, snapshot: str) -> Disk:
        """Return it with a snapshot forgotten: nobody needs its state any more."""
        layers = self.layers.copy()
        (image,) = (image for image, held in self.holds.items() if held == snapshot)
        layers.frozen.remove(image)
        layers.released.add(image)
        return Disk(layers, {one: held for one, held in self.holds.items() if one != image})

    def tidied(self, merging: bool) -> Disk:
        """Return what is left once nothing is there that nobody needs."""
        layers, holds = self.layers.copy(), dict(self.holds)
        for step in steps(layers, merging):
            if isinstance(step, Merge) and step.top in holds:
                holds[step.base] = holds.pop(step.top)
        return Disk(layers, holds)


@dataclass(frozen=True)
class Story:
    """What is done, and the disk before and after it."""

    name: str
    title: str
    before: Disk
    after: Disk


def stories() -> list[Story]:
    plain = Disk(Layers({BASE: None}, frozen=set(), active={BASE}, ours=set(), released=set()), {})
    one = plain.on(BASE, PATCH, {BASE: "pre-patch"})
    two = one.on(PATCH, UPGRADE, {PATCH: "pre-upgrade"})
    return [
        Story("take", "taking pre-patch", plain, one),
        Story("revert", "reverting to pre-patch", one, one.on(BASE, BACK).tidied(merging=False)),
        Story("remove", "removing pre-patch", two, two.without("pre-patch").tidied(merging=True)),
    ]


WIDE, HIGH, GAP, LEFT, TOP = 240, 58, 34, 14, 48
COLUMN = WIDE + 24
# Both can be read by day and by night: each box has a ground of its own.
LOOKS = {"active": ("#dbeafe", "#1d4ed8"), "frozen": ("#e5e7eb", "#4b5563"), "else": ("#ffffff", "#4b5563")}


def svg(story: Story) -> str:
    rows = max(len(disk.layers.backing) for disk in (story.before, story.after))
    width, height = COLUMN + WIDE + 2 * LEFT, TOP + rows * HIGH + (rows - 1) * GAP + 20
    said = f"Before: {in_words(story.before)}. After: {in_words(story.after)}."
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img"',
        '     font-family="sans-serif" font-size="14" fill="#111827">',
        f"<title>{escape(story.title)}</title>",
        f"<desc>{escape(said)}</desc>",
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0 L8 4 L0 8 z" fill="#4b5563"/></marker></defs>',
        f'<rect width="{width}" height="{height}" rx="8" fill="#ffffff" stroke="#d1d5db"/>',
    ]
    for number, (word, disk) in enumerate(((f"before {story.title}", story.before), ("after", story.after))):
        left = LEFT + number * COLUMN
        parts.append(f'<text x="{left}" y="30" font-weight="bold">{word}</text>')
        parts += _drawn(disk, left, rows)
    return "\n".join([*parts, "</svg>", ""])


def in_words(disk: Disk) -> str:
    chain = _from_the_top(disk)
    return ", based on ".join(f"{image} ({_role(disk, image)[1]})" for image in chain)


def _drawn(disk: Disk, left: int, rows: int) -> Iterator[str]:
    chain = _from_the_top(disk)
    for number, image in enumerate(reversed(chain)):
        top = TOP + (rows - 1 - number) * (HIGH + GAP)
        kind, words = _role(disk, image)
        ground, line = LOOKS[kind]
        box = f'x="{left}" y="{top}" width="{WIDE}" height="{HIGH}" rx="6"'
        yield f'<rect {box} fill="{ground}" stroke="{line}" stroke-width="1.5"/>'
        yield f'<text x="{left + 12}" y="{top + 24}" font-family="monospace" font-size="13">{escape(image)}</text>'
        yield f'<text x="{left + 12}" y="{top + 45}">{escape(words)}</text>'
        if number:
            middle, below = left + WIDE // 2, top + HIGH
            yield f'<path d="M{middle} {below} V{below + GAP - 2}" stroke="#4b5563" stroke-width="1.5" marker-end="url(#head)"/>'
            yield f'<text x="{middle + 10}" y="{below + 22}" font-size="12">is based on</text>'


def _from_the_top(disk: Disk) -> list[str]:
    (image,) = disk.layers.active
    chain: list[str] = []
    below: Optional[str] = image
    while below is not None:
        chain.append(below)
        below = disk.layers.backing[below]
    assert set(chain) == set(disk.layers.backing), "a branch has no place in these pictures"
    return chain


def _role(disk: Disk, image: str) -> tuple[str, str]:
    if image in disk.layers.active:
        return "active", "the VM writes here"
    if image in disk.holds:
        return "frozen", f"holds {disk.holds[image]}, frozen"
    return "else", "a layer"


def main() -> None:
    for story in stories():
        (IMAGES / f"{story.name}.svg").write_text(svg(story), "utf-8")


if __name__ == "__main__":
    main()
