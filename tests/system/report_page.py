# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running the playbook that writes the report."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .browser import Browser, browser
from .report_fleet import fleet, write_page


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_page(tmp_path_factory.mktemp("small") / "fleet.html", fleet(8, 10))


@pytest.fixture(scope="module")
def screen() -> Iterator[Browser]:
    with browser() as one:
        yield one


@pytest.fixture
def page(screen: Browser, small: Path) -> Browser:
    """A small fleet with one of each trouble, on a desktop, as it is when it was opened."""
    screen.window(1280, 1000)
    screen.open(small)
    return screen
