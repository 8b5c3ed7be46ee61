# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of a group's snapshot on one host, with every backend: planned, taken together, confirmed or undone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from contract.results import only, refused, unchanged
from contract.world import World

_VMS = ["web01", "off01"]


@pytest.fixture
def members(world: World) -> Iterator[list[str]]:
    """One pristine VM that runs, and one that is off."""
    world.reset(*_VMS)
    yield _VMS
    world.reset(*_VMS)


def soon(world: World) -> dict[str, float]:
    """Return moments that a host can keep: it looks at the VMs and makes overlays before the first."""
    begin, pace = (0.5, 1.0) if world.name == "mock" else (5.0, 2.5)
    return {"begin": begin, "cut": begin + 0.7 * pace, "release": begin + 1.3 * pace, "hard_end": begin + 4.0 * pace}


def labels(world: World, vm: str) -> list[str]:
    return [key for one in world.info(vm)["snapshots"] for key in sorted(one["labels"])]


def test_a_group_is_planned_taken_together_and_confirmed(world: World, members: list[str]) -> None:
    files = [world.files(vm) for vm in members]
    planned = world.group(members, "g", "plan")
    assert not planned.get("failed"), planned["msg"]
    assert [world.files(vm) for vm in members] == files
    result = world.group(members, "g", "take", **soon(world))
    assert not result.get("failed"), result["msg"]
    times = list(result["group"]["members"].values())
    assert [one["disturbed"] for one in times] == ["", ""]
    assert max(one["held"] for one in times) < min(one["switched_from"] for one in times)
    assert max(one["switched_to"] for one in times) < min(one["released"] for one in times)
    assert [world.state(vm) for vm in members] == ["running", "shutoff"]
    assert [labels(world, vm) for vm in members] == [["group", "group_members", "group_pending"]] * 2
    soon_after = world.group(members, "g", "undo", late=True)
    assert {vm["error_code"] for vm in soon_after["vms"]} == {"busy"}, "whoever took it may still be at work"
    confirmed = world.group(members, "g", "confirm")
    assert not confirmed.get("failed"), confirmed["msg"]
    assert [labels(world, vm) for vm in members] == [["group", "group_members"]] * 2
    for step in ("confirm", "undo", "finish"):
        assert not world.group(members, "g", step)["changed"]
    again = world.group(members, "g", "plan")
    assert {vm["error_code"] for vm in again["vms"]} == {"snapshot_mismatch"}


def test_who_is_late_takes_nothing_and_what_is_pending_is_undone(world: World, members: list[str]) -> None:
    files = [world.files(vm) for vm in members]
    late = world.group(members, "g", "take", begin=-1.0, cut=-0.5, release=0.5, hard_end=3.0)
    assert {vm["error_code"] for vm in late["vms"]} == {"appointment_missed"}
    assert (late["group"]["members"], [world.files(vm) for vm in members]) == ({}, files)
    elsewhere: dict[str, Any] = {**soon(world), "boot_id": "another"}
    assert world.group(members, "g", "take", **elsewhere)["error_code"] == "appointment_missed"
    refused(world.group("web01", "g", "confirm"), "snapshot_not_found")
    taken = world.group("off01", "g", "take", **soon(world))
    assert only(taken)["error_code"] is None
    unchanged(world.group("off01", "g", "undo", group="another"))
    assert only(world.group("off01", "g", "undo"))["removed"] == ["g"]
    assert [world.files(vm) for vm in members] == files
