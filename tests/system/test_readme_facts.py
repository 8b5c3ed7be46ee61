# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What README and the guides say of themselves: error codes, numbers, links, examples that are run."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

from .examples import EXAMPLES
from .guide_blocks import page, pages

ROOT = Path(__file__).resolve().parents[2]

README = page("README").read_text("utf-8")


def test_every_example_is_run_by_a_test() -> None:
    texts = "".join(path.read_text("utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    assert sorted(EXAMPLES) == sorted(set(re.findall(r'run_example\("([\w-]+)"', texts)))


def test_every_error_code_has_a_row_and_every_row_a_code() -> None:
    sources = "".join(path.read_text("utf-8") for path in (ROOT / "plugins").rglob("*.py"))
    table = page("guide_errors").read_text("utf-8")
    listed = re.findall(r"^   \* - ``([a-z_]+)``\n     - \S.*\n(?:       .*\n)*     - \S", table, re.MULTILINE)
    listed.remove("error_code")  # the head of the table
    assert listed == sorted(listed)
    assert set(re.findall(r'KvmError\(\s*"([a-z_]+)"', sources)) <= set(listed)
    assert [code for code in listed if f'"{code}"' not in sources] == []


@pytest.mark.parametrize(
    ("guide", "what"),
    [
        ("guide_numbers", "bench"),
        ("guide_numbers", "bench-life"),
        ("guide_numbers", "bench-crowd"),
        ("guide_numbers", "bench-agent"),
        ("guide_numbers", "bench-controller"),
        ("guide_hypervisors", "table"),
    ],
)
def test_what_was_measured_finds_its_place(guide: str, what: str) -> None:
    text = page(guide).read_text("utf-8")
    assert re.search(rf"^\.\. {what}:start\n.*^\.\. {what}:end$", text, re.MULTILINE | re.DOTALL)


def test_the_numbers_of_the_readme_are_those_of_the_guide() -> None:
    shown = README.partition("<!-- numbers:start -->")[2].partition("<!-- numbers:end -->")[0]
    rows = re.findall(r"^\| (.+) \| (.+) \|$", shown.replace("`", "``"), re.MULTILINE)
    guide = page("guide_numbers").read_text("utf-8")
    assert len(rows) == 3
    assert [row for row in rows if f"   * - {row[0]}\n     - {row[1]}\n" not in guide] == []


def test_the_readme_stays_short_and_its_links_are_in_the_artifact() -> None:
    """Whoever installed the collection has what README sends them to: `build_ignore` leaves it in."""
    assert len(README.splitlines()) <= 150
    left_out = yaml.safe_load((ROOT / "galaxy.yml").read_text("utf-8"))["build_ignore"]
    links = re.findall(r"\]\(([^)]+)\)", README)
    assert len(links) > 12
    for link in links:
        assert (ROOT / link).is_file(), link
        parents = [link, *map(str, Path(link).parents)]
        assert not any(fnmatch(one, pattern) for one in parents for pattern in left_out), link


def test_the_readme_names_every_guide() -> None:
    assert [name for name in pages() if name != "README" and f"docs/docsite/rst/{name}.rst" not in README] == []
