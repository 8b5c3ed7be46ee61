# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is at work on a fleet: the time left comes from two polls, and what is unknown is never nothing."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.limiquantix.kvm.plugins.filter.fleet_work import FilterModule, fleet_work
from ansible_collections.limiquantix.kvm.plugins.plugin_utils.watch import progress, told


def vm(name: str, percent: Any = None, **values: Any) -> dict[str, Any]:
    """Return a VM's entry of vm_snapshot_info on which a removal is at work."""
    operation = {
        "kind": "remove",
        "snapshot": "s",
        "started_at": "2026-11-26T15:00:00+00:00",
        "percent": percent,
        "seconds_left": None,
    }
    entry = {"vm": name, "uuid": f"uuid-{name}", "failed": False, "msg": "", "problems": [], "operation": operation}
    return {**entry, "operation": {**operation, "running": True, "interrupted": False}, **values}


def polls(*percents: Any, seconds: float = 10) -> list[str]:
    """Return the line of one VM at each of several polls."""
    result: dict[str, Any] = {}
    lines = []
    for number, percent in enumerate(percents):
        result = progress({"hv": {"vms": [vm("web01", percent)]}}, result, 100 + number * seconds)
        lines += result["lines"]
    return [line.removeprefix("hv: web01: Removing snapshot s, ") for line in lines]


def test_the_time_left_comes_from_two_polls_and_gets_better() -> None:
    assert polls(10, 20, 60) == [
        "10 % of a layer, time left not known yet",
        "20 % of a layer, about 80 s left",
        "60 % of a layer, about 16 s left",
    ]


@pytest.mark.parametrize(
    ("percents", "last"),
    [
        ((10, 10), "10 % of a layer, time left not known yet"),
        ((None, 10), "10 % of a layer, time left not known yet"),
        ((10, None), "since 2026-11-26 15:00:00 UTC"),
        ((10, 90, 5), "5 % of a layer, time left not known yet"),  # the next layer
        ((10, 90, 5, 15), "15 % of a layer, about 85 s left"),
        ((0, 1), "1 % of a layer, about 16 min left"),
        ((99, 100), "100 % of a layer, about 0 s left"),
    ],
)
def test_what_is_not_known_is_not_guessed(percents: tuple[Any, ...], last: str) -> None:
    assert polls(*percents)[-1] == last


def test_another_removal_of_the_same_vm_begins_anew() -> None:
    first = progress({"hv": {"vms": [vm("web01", 10)]}}, {}, 0)
    later = vm("web01", 50)
    later["operation"]["started_at"] = "2026-11-26T15:00:09+00:00"
    assert "time left not known yet" in progress({"hv": {"vms": [later]}}, first, 10)["lines"][0]


@pytest.mark.parametrize(
    ("result", "line"),
    [
        ({}, "hv: unknown. The host was not asked."),
        ({"unreachable": True, "msg": "no route"}, "hv: unknown. no route"),
        ({"vms": [], "error_code": "connection_failed", "msg": "down"}, "hv: unknown. down"),
        ({"vms": [vm("a", failed=True, msg="unreadable")]}, "hv: a: unknown. unreadable"),
        ({"vms": [vm("a", problems=None, operation=None)]}, "hv: a: unknown. qx-node does not tell what runs."),
        ({"vms": [], "missing": ["a"]}, "a: unknown. No host that answered has such a VM."),
    ],
)
def test_what_tells_nothing_is_unknown(result: dict[str, Any], line: str) -> None:
    work = fleet_work({"hv": {"read": result}}, ["hv"], "read")
    assert (work["lines"], work["running"]) == ([line], [])
    none = (
        ""
        if result.get("vms")
        else " No VM that is meant was found. Correct snapshot_vms, or see whether snapshot_uri is right."
    )
    assert work["left"] == f"Nothing is at work on the hosts that answered.{none} Unknown: 1, see above."


def test_a_vm_that_another_host_has_is_not_unknown() -> None:
    idle = vm("a", operation=None)
    found = {"one": {"vms": [], "missing": ["a", "uuid-a"]}, "two": {"vms": [idle], "missing": []}}
    work = progress(found, {}, 0)
    assert (work["lines"], told(work)) == ([], "Nothing is at work any more.")


def test_an_interrupted_run_is_no_work_and_is_told() -> None:
    stopped = vm("a", 40)
    stopped["operation"].update(running=False, interrupted=True)
    work = progress({"hv": {"vms": [stopped, vm("b", 1)]}}, {}, 0)
    assert (work["running"], work["interrupted"]) == (["hv: b"], ["hv: a"])
    assert told(work) == ("Still at work: hv: b. Interrupted, and finished or undone by the next run on the VM: hv: a.")


NOT_REACHED = {"unreachable": True, "msg": "no route"}
IDLE = {"vms": [vm("a", operation=None)]}
BUSY = {"vms": [vm("a", 10)]}


@pytest.mark.parametrize(
    ("polls", "idle"),
    [
        ([IDLE], [1]),
        ([IDLE, IDLE], [1, 2]),
        ([BUSY, IDLE, BUSY, IDLE, IDLE], [0, 1, 0, 1, 2]),  # between two merges of one removal
        ([NOT_REACHED, IDLE, IDLE], [1, 1, 2]),
        ([IDLE, NOT_REACHED, IDLE, IDLE], [1, 1, 1, 2]),
        ([NOT_REACHED, {**NOT_REACHED, "msg": "no route since 10 s"}], [1, 2]),
    ],
)
def test_only_what_was_so_twice_in_a_row_is_the_end(polls: list[dict[str, Any]], idle: list[int]) -> None:
    result: dict[str, Any] = {}
    found = []
    for number, poll in enumerate(polls):
        result = progress({"hv": poll, "other": {"vms": []}}, result, number * 10)
        found.append(result["idle"])
    assert found == idle


def test_where_no_vm_was_found_nothing_was_watched() -> None:
    work = progress({"hv": {"vms": []}}, {}, 0)
    assert work["vms"] == 0
    assert told(work).startswith("Nothing is at work any more. No VM that is meant was found.")


def test_a_merge_that_qemu_goes_on_with_is_work_too() -> None:
    left = vm("a", 40)
    left["operation"]["running"] = False
    work = progress({"hv": {"vms": [left]}}, {}, 0)
    assert (work["running"], work["interrupted"]) == (["hv: a"], [])


def test_the_run_that_waits_for_it_knows_best() -> None:
    found = vm("web01", 42)
    found["operation"]["seconds_left"] = 180
    assert progress({"hv": {"vms": [found]}}, {}, 1.0)["lines"][0].endswith("42 % of a layer, about 3 min left")


def test_ansible_finds_it() -> None:
    assert FilterModule().filters() == {"fleet_work": fleet_work}
