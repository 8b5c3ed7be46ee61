# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guides name the tests that prove them, and each block that a reader copies says who runs it, or why nobody does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from .guide_blocks import GUIDES, ROOT, Block, all_blocks, page, pages

GUIDE = page("guide_other_users")


def missing(named: list[tuple[str, str]]) -> list[str]:
    """Return the tests of those, each a file's name and the test's, that are not there."""
    texts = {file: "".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob(file)) for file, _test in named}
    return [f"{file}::{test}" for file, test in named if f"\ndef {test}(" not in texts[file]]


@pytest.mark.parametrize("guide", sorted(GUIDES.glob("guide_*.rst")), ids=lambda path: path.stem)
def test_tests_that_the_guide_names_are_there(guide: Path) -> None:
    named = re.findall(r"``(test_\w+\.py)::(test_\w+)``", guide.read_text("utf-8"))
    assert len(named) > (20 if guide == GUIDE else 0)
    assert missing(named) == []


@pytest.mark.parametrize("block", all_blocks(), ids=lambda block: f"{block.page}-{block.language}")
def test_each_block_is_run_by_a_test_or_says_why_not(block: Block) -> None:
    """That a test runs each `test:` is asked in test_readme_facts.py."""
    assert block.kind, f"{block.page}: nothing stands above this block, see guide_blocks.py:\n{block.text}"
    if block.kind == "run by":
        file, _colons, test = block.what.partition("::")
        assert missing([(file, test)]) == []
        text = "".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob(file))
        assert block.page in text, f"{file} does not read {block.page}"
    if block.kind == "not run":
        assert len(block.what.split()) > 2, "that is no reason"


def test_no_block_is_overlooked() -> None:
    for name in pages():
        text = page(name).read_text("utf-8")
        there = len(re.findall(r"^```\w+$", text, re.MULTILINE)) + text.count(".. code-block::")
        assert there == sum(block.page == name for block in all_blocks()), name
        unnamed = re.search(r"::\n\n {3}", re.sub(r"^\.\. .*", "", text, flags=re.MULTILINE))
        assert not unnamed, f"{name}: use code-block"


def test_every_guide_is_on_the_site() -> None:
    sections = yaml.safe_load((ROOT / "docs/docsite/extra-docs.yml").read_text("utf-8"))["sections"]
    listed = [guide for section in sections for guide in section["toctree"]]
    assert sorted(listed) == [name for name in pages() if name != "README"]


def test_every_work_says_what_happens_and_what_to_do() -> None:
    guide = GUIDE.read_text("utf-8")
    works = [text for text in re.split(r"\n-{4,}\n", guide) if "**You do:**" in text]
    assert len(works) == guide.count("**You do:**") == 18  # each has a heading of its own
    for text in works:
        assert re.search(r"\*\*Then:\*\*.*\*\*It says:\*\*.*\*\*Now:\*\*.*\*\*Tests?:\*\*", text, re.DOTALL), text
