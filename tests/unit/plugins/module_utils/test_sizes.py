# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No floor of the house is so crowded, and no file so long, that a stranger gets lost in it."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[4]
MODULE_UTILS = ROOT / "plugins/module_utils"
MOST_FILES, MOST_LINES = 12, 250
FILES = sorted(path for path in MODULE_UTILS.rglob("*.py") if path.name != "__init__.py")
FOLDERS = sorted({path.parent for path in FILES})


def name_of(path: Path) -> str:
    return path.relative_to(MODULE_UTILS).as_posix()


def test_every_part_of_the_house_is_looked_at() -> None:
    assert {"_values", "_rules", "_hypervisor/libvirt/operations", "_task", "_node_agent"} <= set(map(name_of, FOLDERS))


@pytest.mark.parametrize("folder", FOLDERS, ids=name_of)
def test_a_folder_holds_twelve_files_at_most(folder: Path) -> None:
    files = sorted(path.name for path in FILES if path.parent == folder)
    assert len(files) <= MOST_FILES, f"{name_of(folder)} has {len(files)}: {', '.join(files)}. Make a folder of some."


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_file_has_250_lines_at_most(path: Path) -> None:
    lines = len(path.read_text("utf-8").splitlines())
    assert lines <= MOST_LINES, f"{name_of(path)} has {lines} lines: divide it along its meaning."
