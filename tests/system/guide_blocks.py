# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The blocks of README and of the guides that a reader copies, and what stands above each: who runs it, or why nobody does.

In a guide a comment of one line, in README the same between ``<!--`` and ``-->``::

    .. test: NAME                       a test runs it by that name, as `run_example("NAME")`
    .. run by: FILE.py::TEST            that test runs it
    .. not run: REASON
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GUIDES = ROOT / "docs" / "docsite" / "rst"
_MARK = r"(?P<kind>test|run by|not run): (?P<what>[^\n]+?)"
_IN_GUIDE = re.compile(
    rf"(?:^\.\. {_MARK}\n\n)?^\.\. code-block:: ?(?P<language>\w*)\n\n(?P<text>(?:   [^\n]*\n|\n(?=   |\n))*)",
    re.MULTILINE,
)
_IN_README = re.compile(rf"(?:^<!-- {_MARK} -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """``kind`` is "" where nothing is said of who runs it."""

    page: str
    language: str
    text: str
    kind: str
    what: str


def pages() -> list[str]:
    """Return README and every guide, by the name without its suffix."""
    return ["README", *sorted(path.stem for path in GUIDES.glob("*.rst"))]


def page(name: str) -> Path:
    return ROOT / "README.md" if name == "README" else GUIDES / f"{name}.rst"


def blocks(name: str) -> list[Block]:
    """Return the blocks of a page, from its top."""
    pattern = _IN_README if name == "README" else _IN_GUIDE
    return [
        Block(name, one["language"], textwrap.dedent(one["text"]), one["kind"] or "", one["what"] or "")
        for one in pattern.finditer(page(name).read_text("utf-8"))
    ]


def all_blocks() -> list[Block]:
    return [block for name in pages() for block in blocks(name)]


def examples() -> dict[str, Block]:
    """Return the blocks that tests run by name."""
    named = [block for block in all_blocks() if block.kind == "test"]
    assert len({block.what for block in named}) == len(named), "two blocks have the same name"
    return {block.what: block for block in named}
