# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of the contract the backend qx_node keeps, over the agent of the fixtures, and what it refuses. No lab needed."""

from __future__ import annotations

from typing import Any

import pytest

from contract.agent_world import AgentWorld
from contract.results import done, knowable, only, refused, taken, unchanged


@pytest.fixture
def agent(qx_node: AgentWorld) -> AgentWorld:
    """A pristine agent."""
    qx_node.reset()
    return qx_node


def names(agent: AgentWorld, vm: str) -> list[str]:
    return [one["name"] for one in agent.info(vm)["snapshots"]]


@pytest.mark.parametrize("vm", ["web01", "off01", "tsc01"])
def test_check_take_check_again_take_again(agent: AgentWorld, vm: str) -> None:
    predicted = agent.ask("snapshot", vm, True, name="s")
    assert names(agent, vm) == []
    real = agent.ask("snapshot", vm, name="s")
    assert taken(real)["include_memory"] is False
    assert knowable(real) == knowable(predicted)
    for check in (True, False):
        unchanged(agent.ask("snapshot", vm, check, name="s"))
    assert names(agent, vm) == ["s"]


def test_everything_at_once_and_one_failure_stops_nobody(agent: AgentWorld) -> None:
    result = agent.ask("snapshot", "*", name="s", include_memory=True)
    assert {one["vm"]: (one["changed"], one["error_code"], one["disk_only"]) for one in result["vms"]} == {
        "web01": (True, None, False),
        "off01": (True, None, True),
        "tsc01": (False, "memory_blocked", None),
    }
    assert not agent.ask("snapshot", ["web01", "off01"], name="s", include_memory=True)["changed"]


def test_memory_of_an_invtsc_vm(agent: AgentWorld) -> None:
    entry = refused(agent.ask("snapshot", "tsc01", name="s", include_memory=True), "memory_blocked")
    assert any("invtsc" in blocker for blocker in entry["details"]["blockers"])
    assert "TSC frequency" in entry["msg"]
    result = agent.ask("snapshot", "tsc01", name="s", include_memory=True, on_memory_blocked="disk_only")
    assert taken(result)["include_memory"] is False
    assert names(agent, "tsc01") == ["s"]


@pytest.mark.parametrize("check", [True, False])
def test_memory_of_a_vm_that_has_snapshots_is_refused_or_left_out(agent: AgentWorld, check: bool) -> None:
    taken(agent.ask("snapshot", "web01", name="s1"))
    entry = refused(agent.ask("snapshot", "web01", check, name="m1", include_memory=True), "not_supported")
    assert "backend: libvirt" in entry["msg"]
    assert names(agent, "web01") == ["s1"]
    less = {"include_memory": True, "on_memory_blocked": "disk_only"}
    result = agent.ask("snapshot", "web01", check, name="m1", **less)
    entry = only(result)
    assert entry["snapshot"]["include_memory"] is False
    assert "memory left out: qx-node loses saved memory" in " ".join(entry["notes"])
    assert not [note for note in entry["notes"] if "the saved memory holds" in note]
    assert names(agent, "web01") == (["s1"] if check else ["s1", "m1"])


def test_a_libvirt_that_cannot_revert_by_itself_is_told_with_what_can(qx_node: AgentWorld) -> None:
    qx_node.reset("old-libvirt")
    taken(qx_node.ask("snapshot", "web01", name="s1"))
    entry = refused(qx_node.ask("revert", "web01", name="s1"), "agent_error")
    assert "not supported yet" in entry["msg"]
    assert "'vm=web01 name=s1 state=reverted backend=libvirt'" in entry["msg"]


def test_revert_and_remove_do_what_check_mode_said(agent: AgentWorld) -> None:
    for name in ("s1", "s2"):
        taken(agent.ask("snapshot", "web01", name=name))
    predicted = agent.ask("revert", "web01", True, name="s1", keep_current=True)
    real = agent.ask("revert", "web01", name="s1", keep_current=True)
    assert real["diff"] == predicted["diff"]
    assert done(real)["power"] == "running"
    refused(agent.ask("revert", "web01", name="s9"), "snapshot_not_found")
    assert done(agent.ask("remove", "web01", name="s1"))["removed"] == ["s1"]
    for check in (True, False):
        unchanged(agent.ask("remove", "web01", check, name="s1"))
    done(agent.ask("remove", "web01", all_snapshots=True))
    assert names(agent, "web01") == []


@pytest.mark.parametrize("good", ["a b", "<&\"'>", "$(touch x)`;", "a,b=c", "%s{0}{{ x }}", "x" * 230])
def test_names_that_survive(agent: AgentWorld, good: str) -> None:
    assert taken(agent.ask("snapshot", "off01", name=good))["name"] == good
    unchanged(agent.ask("snapshot", "off01", name=good))


@pytest.mark.parametrize("patterns", [["nobody"], ["web01", "nobody"]])
def test_a_name_that_is_not_here(agent: AgentWorld, patterns: list[str]) -> None:
    result = agent.ask("snapshot", patterns, name="s")
    assert (result["failed"], result["error_code"], result["vms"]) == (True, "vm_not_found", [])
    result = agent.ask("snapshot", patterns, name="s", missing="skip")
    assert ([vm["vm"] for vm in result["vms"]], result["missing"]) == (patterns[:-1], ["nobody"])
    assert "failed" not in result


@pytest.mark.parametrize("patterns", [["no-*"], ["web01", "!web*"]])
def test_nothing_that_is_meant_is_nothing_to_do(agent: AgentWorld, patterns: list[str]) -> None:
    result = agent.ask("snapshot", patterns, name="s")
    assert (result["changed"], result["vms"], result["missing"]) == (False, [], [])
    assert "failed" not in result


def test_a_vm_that_another_run_holds(agent: AgentWorld) -> None:
    other = agent.driver()
    try:
        other.send("hold", vm="off01")
        assert other.answer() == {}
        refused(agent.ask("snapshot", "off01", name="s", timeout=1), "locked")
        assert taken(agent.ask("snapshot", "web01", name="s", timeout=5))
    finally:
        other.end()
    assert taken(agent.ask("snapshot", "off01", name="s"))


def test_two_runs_at_once_take_one_snapshot(agent: AgentWorld) -> None:
    runs = [agent.driver() for _number in range(3)]
    try:
        for run in runs:
            run.send("snapshot", vms=["web01"], name="s", check=False, limits={})
        results = [run.answer() for run in runs]
    finally:
        for run in runs:
            run.end()
    assert sorted(result["changed"] for result in results) == [False, False, True]
    assert names(agent, "web01") == ["s"]


@pytest.mark.parametrize(
    ("call", "wish"),
    [
        ("snapshot", {"disks": ["vda"]}),
        ("snapshot", {"overlay_dir": "/srv"}),
        ("snapshot", {"protected": True}),
        ("snapshot", {"labels": {"by": "us"}}),
        ("snapshot", {"expires": "14d"}),
        ("snapshot", {"quiesce": "required"}),
        ("revert", {"power": "running"}),
        ("remove", {"children": True}),
        ("remove", {"bandwidth": 10}),
        ("remove", {"labels": {"by": "us"}}),
        ("remove", {"apparmor": "adjust"}),
    ],
)
def test_what_the_others_can_and_the_agent_cannot(agent: AgentWorld, call: str, wish: dict[str, Any]) -> None:
    taken(agent.ask("snapshot", "web01", name="s"))
    result = agent.ask(call, "web01", name="s", **wish)
    assert (result["failed"], result["error_code"], result["vms"]) == (True, "not_supported", [])


@pytest.mark.parametrize("check", [True, False])
def test_another_description_of_one_that_is_there(agent: AgentWorld, check: bool) -> None:
    """This agent tells none, so nobody knows whether it is another one: that is said, and nothing is claimed to change."""
    taken(agent.ask("snapshot", "web01", name="s", description="before"))
    entry = only(agent.ask("snapshot", "web01", name="s", description="after", check=check))
    assert (entry["changed"], entry["failed"]) == (False, False)
    assert "does not tell its description, which stays as it is" in entry["msg"]
    assert any("description" in note for note in entry["notes"])
    assert "description" not in only(agent.ask("snapshot", "web01", name="s", check=check))["msg"]


def test_a_connection_that_is_cut(agent: AgentWorld) -> None:
    agent.reset("cut")
    entry = only(agent.ask("snapshot", "web01", name="s"))
    assert (entry["changed"], entry["failed"]) == (True, False)
    assert "The module looked" in entry["msg"]


@pytest.mark.parametrize(("how", "error_code"), [("slow", "agent_unreachable"), ("half", "agent_bad_answer")])
def test_an_agent_that_misbehaves(agent: AgentWorld, how: str, error_code: str) -> None:
    agent.reset(how)
    result = agent.ask("snapshot", "web01", name="s")
    assert (result["failed"], result["error_code"]) == (True, error_code)


def test_file_systems_are_not_told_rather_than_none(agent: AgentWorld) -> None:
    assert agent.filesystems() is None
