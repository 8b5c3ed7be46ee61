# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A group as the controller sees it: what the clocks prove, when it is cut, was it one moment, and what becomes of it later."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.limiquantix.kvm.plugins.plugin_utils.group import (
    TICK,
    Clock,
    appointment,
    pending,
    reading,
    verdict,
    whole,
)

# Two hosts whose clocks are an hour and a day ahead of the controller's.
AHEAD = {"a": 3600.0, "b": 86400.0}
MEMBERS = {"a": ["a1", "a2"], "b": ["b1"]}
GROUP = "g"


def clock(host: str, bound: float = 0.01, drift: float = 0.0) -> dict[str, Any]:
    return {"boot_id": f"boot-{host}", "ahead": AHEAD[host] + drift, "bound": bound, "read_at": 100.0}


def stamps(host: str, **other: Any) -> dict[str, Any]:
    """Times of a member on its host's clock; the controller's are 200.0 and so on."""
    times = {"began": 199.9, "held": 200.0, "switched_from": 200.3, "switched_to": 200.4, "released": 200.8, **other}
    disturbed = times.pop("disturbed", "")
    return {**{key: value + AHEAD[host] for key, value in times.items()}, "disturbed": disturbed}


def told(host: str, drift: float = 0.0, bound: float = 0.01, **other: Any) -> dict[str, Any]:
    members = {uuid: stamps(host, **other) for uuid in MEMBERS[host]}
    taken = {"vms": [{"failed": False}], "group": {"id": GROUP, "boot_id": f"boot-{host}", "members": members}}
    return {"before": clock(host, bound), "after": clock(host, bound, drift), "taken": taken}


def judged(**hosts: Any) -> dict[str, Any]:
    return verdict(MEMBERS, {"a": told("a"), "b": told("b"), **hosts}, GROUP)


def test_a_clock_is_known_to_half_of_the_quickest_answer() -> None:
    slow, quick = (10.0, 3610.9, 11.0), (20.0, 3620.02, 20.06)
    found = reading([slow, quick, slow], "boot-a")
    assert found["bound"] == pytest.approx((0.06 + TICK) / 2)
    for ahead in (
        3620.02 - 20.06,
        3620.02 + TICK - 20.0,
    ):  # the host looked just as it answered, or just as it was asked
        assert abs(found["ahead"] - ahead) <= found["bound"] + 1e-9


def test_a_clock_that_drifts_is_known_less_well() -> None:
    between = Clock.between(clock("a"), clock("a", drift=0.004))
    assert between.bound == pytest.approx(0.012)
    assert between.here(AHEAD["a"] + 50) == pytest.approx(50 - 0.002)


def test_all_hosts_meet_at_one_moment_each_by_its_own_clock() -> None:
    clocks = {host: clock(host) for host in AHEAD}
    made = appointment(clocks, MEMBERS, 5.0, 104.0)
    assert made["refusal"] == ""
    assert made["members"] == ["a1", "a2", "b1"]
    for moment in ("begin", "cut", "release", "hard_end"):
        here = [made["hosts"][host][moment] - AHEAD[host] for host in AHEAD]
        assert here[0] == pytest.approx(here[1]), moment
        assert here[0] > 104.0 + 1.5 * 4.0
    own = made["hosts"]["a"]
    assert own["begin"] < own["cut"] < own["release"] < own["hard_end"] == pytest.approx(own["begin"] + 5)
    longer = appointment(clocks, MEMBERS, 5.0, 104.0, whole=True)["hosts"]["a"]
    assert own["release"] - own["begin"] < longer["release"] - longer["begin"] <= 5
    freezing = appointment(clocks, MEMBERS, 5.0, 104.0, freezes=True)["hosts"]["a"]
    assert freezing["cut"] - freezing["begin"] > own["cut"] - own["begin"]


@pytest.mark.parametrize(("max_hold", "bound"), [(0.4, 0.01), (5.0, 2.0)])
def test_what_cannot_be_done_in_time_is_refused(max_hold: float, bound: float) -> None:
    clocks = {host: clock(host, bound) for host in AHEAD}
    assert "snapshot_max_hold" in appointment(clocks, MEMBERS, max_hold, 104.0)["refusal"]


def test_the_hold_does_not_grow_with_the_number_of_hosts() -> None:
    many = {f"h{number}": [f"vm{number}"] for number in range(100)}
    clocks = dict.fromkeys(many, clock("a"))
    held = [one["release"] - one["begin"] for one in appointment(clocks, many, 5.0, 101.0)["hosts"].values()]
    few = appointment({"a": clock("a")}, {"a": ["a1"]}, 5.0, 101.0)["hosts"]["a"]
    assert max(held) == pytest.approx(few["release"] - few["begin"])


def test_one_moment_is_proven() -> None:
    found = judged()
    assert found["consistent"], found["reasons"]
    assert (found["longest_hold_ms"], found["clock_bound_ms"], found["members"]) == (900, 10, 3)
    assert found["window_ms"] == 120  # with the bounds on both sides


@pytest.mark.parametrize(
    ("late", "again"),
    [
        # Just more than the bounds of both clocks allow.
        ({"held": 200.281}, True),
        ({"switched_to": 200.781}, True),
        ({"released": 200.419}, True),
        ({"switched_from": 200.019}, True),
        ({"disturbed": "somebody resumed it"}, False),
    ],
)
def test_one_member_that_does_not_fit_is_enough(late: dict[str, Any], again: bool) -> None:
    found = judged(b=told("b", **late))
    assert not found["consistent"]
    assert found["reasons"]
    assert found["again"] is again


@pytest.mark.parametrize("fits", [{"held": 200.279}, {"switched_to": 200.779}, {"released": 200.421}])
def test_what_fits_just_within_the_bounds_is_proven(fits: dict[str, Any]) -> None:
    assert judged(b=told("b", **fits))["consistent"]


@pytest.mark.parametrize("worse", [{"bound": 0.2}, {"drift": 0.5}])
def test_clocks_that_are_known_badly_prove_nothing(worse: dict[str, float]) -> None:
    assert not judged(b=told("b", **worse))["consistent"]


def without(host: str, *keys: str) -> dict[str, Any]:
    return {key: value for key, value in told(host).items() if key not in keys}


@pytest.mark.parametrize("lost", [{}, {"taken": {"msg": "lost"}}, without("b", "after"), without("b", "before")])
def test_a_host_that_does_not_answer_proves_nothing(lost: dict[str, Any]) -> None:
    found = judged(b=lost)
    assert (found["consistent"], found["again"]) == (False, False)
    assert "b" in found["reasons"][0]


def test_a_host_that_was_started_anew_an_answer_of_another_run_and_a_member_without_times_prove_nothing() -> None:
    anew, other, less = told("b"), told("b"), told("a")
    anew["after"]["boot_id"] = "another"
    other["taken"]["group"]["id"] = "another"
    del less["taken"]["group"]["members"]["a2"]
    for hosts in ({"b": anew}, {"b": other}, {"a": less}):
        assert not judged(**hosts)["consistent"]


def test_a_host_that_was_too_late_is_asked_again_and_one_that_refused_is_not() -> None:
    for code, again in (("appointment_missed", True), ("busy", False)):
        failed = told("b")
        failed["taken"]["vms"] = [{"failed": True, "error_code": code, "msg": "b1 was late"}]
        found = judged(b=failed)
        assert (found["consistent"], found["again"], found["reasons"]) == (False, again, ["b: b1 was late"])


def look(
    *vms: str, state: str = "", running: bool = False, group: str = GROUP, members: str = "a1,b1"
) -> dict[str, Any]:
    """What a host tells of VMs that have the snapshot, pending or confirmed, or (state "") do not."""
    labels = {"group": group, "group_members": members, **({"group_pending": "boot 1.0"} if state == "pending" else {})}
    snapshots = [{"name": "s", "labels": labels}] if state else []
    operation = {"running": running} if running else None
    return {"vms": [{"vm": f"vm-{uuid}", "uuid": uuid, "operation": operation, "snapshots": snapshots} for uuid in vms]}


@pytest.mark.parametrize(
    ("hosts", "step"),
    [
        ({"a": look("a1", state="confirmed"), "b": look("b1", state="confirmed")}, None),
        ({"a": look("a1"), "b": look("b1")}, None),
        ({"a": look("a1", state="confirmed"), "b": look("b1", state="pending")}, "confirm"),
        ({"a": look("a1", state="pending"), "b": look("b1", state="pending")}, "undo"),
        ({"a": look("a1"), "b": look("b1", state="pending")}, "undo"),
        ({"a": look("a1", state="pending")}, "undecided"),
        ({"a": look("a1", state="pending"), "b": look("b1", state="pending", running=True)}, "undecided"),
        ({"a": look("a1", state="pending"), "b": look("b1", running=True)}, "undecided"),
    ],
)
def test_who_comes_later_decides_only_what_is_known(hosts: dict[str, Any], step: str | None) -> None:
    found = pending(hosts, "s")
    assert [one["step"] for one in found] == ([step] if step else [])
    assert pending(hosts, "another") == []


def test_a_vm_that_could_not_be_read_is_not_seen() -> None:
    hosts = {"a": look("a1", state="pending"), "b": {"vms": [{"vm": "vm-b1", "uuid": "b1", "failed": True}]}}
    assert pending(hosts, "s")[0]["step"] == "undecided"


@pytest.mark.parametrize(
    ("hosts", "selected", "problem"),
    [
        ({"a": look("a1", state="confirmed"), "b": look("b1", state="confirmed")}, ["a1", "b1"], ""),
        ({"a": look("a1", state="confirmed"), "b": look("b1", state="confirmed")}, ["a1"], "not selected"),
        ({"a": look("a1", state="confirmed"), "b": look("b1")}, ["a1", "b1"], "lost its snapshot"),
        ({"a": look("a1", state="confirmed"), "b": look("b1", state="pending")}, ["a1", "b1"], "lost its snapshot"),
        ({"a": look("a1"), "b": look("b1")}, ["a1", "b1"], "No selected VM"),
        (
            {"a": look("a1", state="confirmed", group="1"), "b": look("b1", state="confirmed", group="2")},
            ["a1", "b1"],
            "2 different groups",
        ),
    ],
)
def test_only_a_whole_group_is_reverted(hosts: dict[str, Any], selected: list[str], problem: str) -> None:
    found = whole(hosts, "s", {"a": selected})
    assert problem in found["problem"]
    assert bool(found["problem"]) is bool(problem)
    assert found["group"] == ("" if problem else GROUP)


def test_a_snapshot_that_is_no_groups_is_told_apart() -> None:
    by_itself = {"vms": [{"vm": "vm-c1", "uuid": "c1", "operation": None, "snapshots": [{"name": "s", "labels": {}}]}]}
    hosts = {"a": look("a1", state="confirmed"), "c": by_itself}
    assert whole(hosts, "s", {"a": ["a1"], "c": ["c1"]})["alone"] == ["vm-c1"]
    assert whole(hosts, "s", {"a": ["a1"]})["alone"] == []
