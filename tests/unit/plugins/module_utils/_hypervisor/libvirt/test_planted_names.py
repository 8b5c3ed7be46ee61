# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests on the lab plant faults before steps of the backend, which they name in texts: each such name is there."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

pytest.importorskip("lxml")
BACKEND = "ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt."
TESTS = next(path for path in Path(__file__).resolve().parents if path.name == "tests")
STEP = re.compile(r'"((?:operations|merge|vm)[\w.]*):([\w.]+)"')
PLANTED = re.compile(r"[\"(](\w+)((?:\.\w+)?), '(\w+)'")
ASSIGNED = re.compile(r"\b(\w+)()\.(\w+) = ")


def steps() -> list[tuple[str, str]]:
    """Return module and name of each, as the soak and the tests of faults write them down."""
    found = STEP.findall((TESTS / "soak" / "test_interrupted.py").read_text("utf-8"))
    prelude = (TESTS / "system" / "planted.py").read_text("utf-8")
    known = {"vm_handle": "vm_handle"}
    for package, names in re.findall(rf"from {re.escape(BACKEND)}(\w+) import ([\w, ]+)", prelude):
        for name in names.split(", "):
            module, _as, alias = name.partition(" as ")
            known[alias or module] = f"{package}.{module}"
    for file in sorted((TESTS / "system").glob("test_*.py")):
        text = file.read_text("utf-8")
        for module, owner, name in [*PLANTED.findall(text), *ASSIGNED.findall(text)]:
            if module in known:
                found.append((known[module], f"{owner}.{name}".lstrip(".")))
    return sorted(set(found))


@pytest.mark.parametrize(("module", "path"), steps())
def test_what_a_fault_is_planted_before_is_there(module: str, path: str) -> None:
    owner = importlib.import_module(BACKEND + module)
    for name in path.split("."):
        owner = getattr(owner, name)
    assert owner is not None


def test_the_texts_are_found() -> None:
    assert len(steps()) > 25
