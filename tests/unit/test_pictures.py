# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pictures of the guides show what the collection does: they are what its own rules say today."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs/docsite/rst/guide_first_steps.rst"


def drawing() -> Any:
    """Return dev/site/chains.py, which is in no package."""
    spec = importlib.util.spec_from_file_location("chains", ROOT / "dev/site/chains.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["chains"] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


CHAINS = drawing()
STORIES = {story.name: story for story in CHAINS.stories()}


@pytest.mark.parametrize("name", ["take", "revert", "remove"])
def test_the_picture_is_what_the_rules_say_today(name: str) -> None:
    text = (CHAINS.IMAGES / f"{name}.svg").read_text("utf-8")
    assert text == CHAINS.svg(STORIES[name]), "run python3 dev/site/chains.py"
    assert f".. image:: images/{name}.svg" in GUIDE.read_text("utf-8")
    assert ElementTree.fromstring(text).tag.endswith("svg")  # noqa: S314 - a file of this repository


def test_each_story_ends_as_the_guide_says() -> None:
    """A snapshot is in the image under its overlay; a revert drops what was written since; a removal merges downwards."""
    base, patch, upgrade, back = CHAINS.BASE, CHAINS.PATCH, CHAINS.UPGRADE, CHAINS.BACK
    after = {name: (story.after.layers.backing, story.after.holds) for name, story in STORIES.items()}
    assert after["take"] == ({base: None, patch: base}, {base: "pre-patch"})
    assert after["revert"] == ({base: None, back: base}, {base: "pre-patch"})
    assert after["remove"] == ({base: None, upgrade: base}, {base: "pre-upgrade"})
