# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names and texts: those that would harm are refused, all others survive."""

from __future__ import annotations

from typing import Any

import pytest

from contract.results import names, refused, taken
from contract.world import World


@pytest.mark.parametrize("bad", ["", " ", " a", "a\n", "a/b", ".a", "-a", "a\tb", "a\x00b", "a\x85b", "x" * 252])
def test_names_that_would_harm(world: World, bad: str) -> None:
    result = world.snapshot("off01", bad)
    assert (result["failed"], result["error_code"], result["vms"]) == (True, "bad_name", [])


@pytest.mark.parametrize(
    "text",
    [
        {"description": "\x1b[31m"},
        {"description": "a\ufffe"},
        {"description": "x" * 65537},
        {"description": "a\rb"},
    ],
)
def test_texts_that_would_not_be_kept(world: World, text: dict[str, Any]) -> None:
    before = names(world, "off01")
    for check in (True, False):
        result = world.snapshot("off01", "s1", check=check, **text)
        assert (result["failed"], result["error_code"], result["vms"]) == (True, "bad_request", [])
    assert names(world, "off01") == before


def test_a_name_too_long_beside_that_of_the_vm(world: World) -> None:
    refused(world.snapshot("off01", "x" * 245), "bad_name")


@pytest.mark.parametrize("good", ["a b", "<&\"'>", "$(touch x)`;", "größe-数", "a,b=c", "%s{0}{{ x }}", "x" * 230])
def test_names_that_survive(world: World, good: str) -> None:
    world.reset("off01")
    assert taken(world.snapshot("off01", good))["name"] == good
    assert names(world, "off01") == [good]
    assert not world.snapshot("off01", good)["changed"]
