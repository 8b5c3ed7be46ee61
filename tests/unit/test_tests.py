# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds of every test of this collection."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]


def test_every_name_says_in_three_words_or_more_what_is_proved() -> None:
    names = [
        (file.name, name)
        for file in sorted(TESTS.rglob("*.py"))
        if TESTS / "output" not in file.parents  # ansible-test's own, with the libraries of its environments
        for name in re.findall(r"^ *def test_(\w+)\(", file.read_text("utf-8"), re.MULTILINE)
    ]
    assert len(names) > 600
    assert [f"{file}::test_{name}" for file, name in names if len(name.split("_")) < 3] == []
