# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds of every test of this collection."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
DEV = TESTS.parent / "dev"
MOST_LINES = 250
# Longer for a reason. A file that is divided, or gets shorter, goes from here.
LONGER = {
    "tests/soak/people.py": "one class: what people do to a VM, each by what it knows of all others",
}


def test_every_name_says_in_three_words_or_more_what_is_proved() -> None:
    names = [
        (file.name, name)
        for file in sorted(TESTS.rglob("*.py"))
        if TESTS / "output" not in file.parents  # ansible-test's own, with the libraries of its environments
        for name in re.findall(r"^ *def test_(\w+)\(", file.read_text("utf-8"), re.MULTILINE)
    ]
    assert len(names) > 600
    assert [f"{file}::test_{name}" for file, name in names if len(name.split("_")) < 3] == []


def test_a_file_has_250_lines_at_most_and_one_subject() -> None:
    # ansible-test's sanity and units have the collection without dev.
    files = [
        file for folder in (TESTS, DEV) for file in sorted(folder.rglob("*.py")) if TESTS / "output" not in file.parents
    ]
    lines = {file.relative_to(TESTS.parent).as_posix(): len(file.read_text("utf-8").splitlines()) for file in files}
    assert len(lines) > 250
    too_long = {name for name, count in lines.items() if count > MOST_LINES}
    assert sorted(too_long - LONGER.keys()) == [], "divide it by subject, so that its name says what is proved"
    assert sorted(LONGER.keys() - too_long) == [], "it is short enough: take it out of LONGER"
