# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each line of the guides names the tests that prove it: these are there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs/docsite/rst/guide_other_users.rst"


def test_tests_that_the_guide_names_are_there() -> None:
    named = re.findall(r"``(test_\w+\.py)::(test_\w+)``", GUIDE.read_text("utf-8"))
    assert len(named) > 20
    files = {file: ROOT / "tests/system" / file for file, _test in named}
    texts = {file: path.read_text("utf-8") if path.exists() else "" for file, path in files.items()}
    assert [f"{file}::{test}" for file, test in named if f"\ndef {test}(" not in texts[file]] == []


def test_every_work_says_what_happens_and_what_to_do() -> None:
    sections = re.split(r"\n-{4,}\n", GUIDE.read_text("utf-8"))
    works = [text for text in sections if "**You do:**" in text]
    assert len(works) == 11
    for text in works:
        assert re.search(r"\*\*Then:\*\*.*\*\*It says:\*\*.*\*\*Now:\*\*.*\*\*Tests?:\*\*", text, re.DOTALL), text
