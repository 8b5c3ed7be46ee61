# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which VMs a task means: names, globs, UUIDs, what is missing, and what an empty variable becomes."""

from __future__ import annotations

import pytest

from contract.results import names, only
from contract.taking import name
from contract.world import World

__all__ = ("name",)

NOBODY = "99999999-AAAA-4aaa-8aaa-999999999999"


@pytest.mark.parametrize("patterns", [["nobody"], ["off01", "nobody"], [NOBODY, "off01"], ["nobody", "no-*", "!off01"]])
@pytest.mark.parametrize("check", [True, False])
def test_a_name_that_is_not_here(world: World, name: str, patterns: list[str], check: bool) -> None:
    result = world.snapshot(patterns, name, check=check)
    assert (result["failed"], result["error_code"], result["vms"]) == (True, "vm_not_found", [])
    assert result["details"]["names"] == [one for one in patterns if one in ("nobody", NOBODY)]
    assert name not in names(world, "off01")


@pytest.mark.parametrize("patterns", [["no-*"], ["off01", "!off*"], ["!*"]])
def test_nothing_that_is_meant_is_nothing_to_do(world: World, name: str, patterns: list[str]) -> None:
    for result in (world.snapshot(patterns, name), world.revert(patterns, name), world.remove(patterns, name)):
        assert "failed" not in result
        assert (result["changed"], result["vms"], result["missing"]) == (False, [], [])
        assert result["msg"].endswith(" of 0 VMs: nothing to do")
    assert name not in names(world, "off01")


def test_what_may_be_missing_is_told(world: World, name: str) -> None:
    patterns = ["nobody", "off01", NOBODY, "no-*"]
    for call, word in (
        (world.snapshot, "taken"),
        (world.snapshot, "unchanged"),
        (world.revert, "unchanged"),
        (world.remove, "removed"),
    ):
        result = call(patterns, name, missing="skip")
        assert "failed" not in result, result["msg"]
        assert ([vm["vm"] for vm in result["vms"]], result["missing"]) == (["off01"], ["nobody", NOBODY])
        assert result["msg"].endswith(f"of 1 VM: 1 {word}. Not on this host: nobody, {NOBODY}")
    alone = world.remove(["nobody"], name, missing="skip")
    assert (alone["changed"], alone["vms"], alone["missing"]) == (False, [], ["nobody"])


@pytest.mark.parametrize("patterns", [[""], ["off01", ""], ["*", "!"]])
def test_what_an_empty_variable_becomes_is_not_every_vm(world: World, name: str, patterns: list[str]) -> None:
    result = world.snapshot(patterns, name, missing="skip")
    assert (result["failed"], result["error_code"], result["vms"]) == (True, "bad_request", [])
    assert name not in names(world, "off01")


def test_vms_by_uuid_glob_and_exclusion(world: World, name: str) -> None:
    uuid_of_off01 = only(world.snapshot("off01", name, check=True))["uuid"]
    for patterns, expected in (
        ([uuid_of_off01.upper()], ["off01"]),
        (["o?f*", "off01"], ["off01"]),
        (["off01", uuid_of_off01, "off01", "of*"], ["off01"]),
        (["*01", "!db01", "!web*", "!tsc01"], ["files01", "off01"]),
    ):
        result = world.snapshot(patterns, name, check=True)
        assert [entry["vm"] for entry in result["vms"]] == expected


def test_only_running_vms(world: World, name: str) -> None:
    result = world.snapshot(["off01", "files01"], name, running_only=True)
    assert {entry["vm"]: entry["changed"] for entry in result["vms"]} == {"files01": True, "off01": False}
    assert name not in names(world, "off01")
