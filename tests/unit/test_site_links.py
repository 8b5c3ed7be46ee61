# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A link that leads nowhere makes the gate of the docs site red."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CHECK = Path(__file__).resolve().parents[2] / "dev/gates/site_links.py"
GOOD = '<h1 id="top-of-it">x</h1> <a href="other.html#there">a</a> <a href="#top-of-it">b</a> <a href="https://host.test/">c</a>'


def checked(folder: Path, body: str) -> tuple[int, str]:
    (folder / "sub").mkdir()
    (folder / "other.html").write_text('<p id="there">x</p>')
    (folder / "picture.svg").write_text("<svg/>")
    (folder / "index.html").write_text(body)
    done = subprocess.run([sys.executable, str(CHECK), str(folder)], check=False, capture_output=True, text=True)
    return done.returncode, done.stdout.strip()


def test_a_site_whose_links_all_lead_somewhere_passes(tmp_path: Path) -> None:
    status, said = checked(tmp_path, f'{GOOD} <img src="picture.svg"> <link rel="next" href="other.html">')
    assert (status, said) == (0, "every link of 2 pages leads somewhere")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ('<a href="gone.html">x</a>', "index.html: gone.html: there is no such file"),
        ('<a href="other.html#here">x</a>', "index.html: other.html#here: that page has no such place"),
        ('<a href="#nowhere">x</a>', "index.html: #nowhere: that page has no such place"),
        ('<a href="sub/">x</a>', "index.html: sub/: there is no such file"),
        ('<img src="gone.png">', "index.html: gone.png: there is no such file"),
        (
            '<script src="https://host.test/x.js"></script>',
            "index.html: https://host.test/x.js: the page needs it, and it is elsewhere",
        ),
    ],
)
def test_a_link_that_leads_nowhere_is_named(tmp_path: Path, body: str, says: str) -> None:
    assert checked(tmp_path, GOOD + body) == (1, says)
