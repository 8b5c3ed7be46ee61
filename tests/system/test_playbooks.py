# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fleet playbook, and the one command of the README, over all hypervisors of the lab."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from lab.api import Host, hosts, reset_vm

from .playbook_run import SNAPSHOT, VMS, Run, reset_fleet, run, run_on_terminal, vms_of

TESTS = Path(__file__).resolve().parents[1]
FIXTURE = TESTS / "fixtures" / "mock" / "fleet.json"
TARGETS = TESTS / "integration" / "targets"
NAME_QUESTION, MEMORY_QUESTION = "Name of the snapshot", "Include memory state? [no]:"


@pytest.fixture(scope="module")
def fleet() -> list[Host]:
    """All hypervisors that are up."""
    return hosts() or pytest.skip("no hypervisor is up; start them with: tests/lab/lab up")


@pytest.fixture
def mock_fleet(tmp_path: Path) -> Path:
    """The inventory of two mock hypervisors: what a playbook says and asks is the same on every backend."""
    mocks = {name: {"snapshot_mock_path": str(tmp_path / f"{name}.json")} for name in ("mock-1", "mock-2")}
    for name in mocks:
        shutil.copy(FIXTURE, tmp_path / f"{name}.json")
    variables = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "snapshot_backend": "mock",
    }
    inventory = tmp_path / "inventory.yml"
    inventory.write_text(json.dumps({"hypervisors": {"hosts": mocks, "vars": variables}}))
    return inventory


def with_variables(*variables: str) -> list[str]:
    return [*SNAPSHOT, *(word for variable in variables for word in ("-e", variable))]


def changed(done: Run) -> list[bool]:
    return [result["changed"] for result in done.results.values()]


@pytest.mark.fleet
def test_ad_hoc_on_the_whole_fleet(fleet: list[Host]) -> None:
    """ "Done when" of the first release, word by word."""
    reset_fleet(fleet)
    command = ["ansible", "hypervisors", "-m", "limiquantix.kvm.vm_snapshot", "-a", "vm=* name=first"]
    told = run([*command, "--check", "--diff"])
    done = run(command)
    again = run(command)
    for one in (told, done, again):
        assert one.status == 0, one.said()
    assert set(done.results) == {host.name for host in fleet}
    for host in fleet:
        before, after, later = (one.results[host.name] for one in (told, done, again))
        assert {vm["vm"] for vm in after["vms"]} >= set(vms_of(host))
        assert (before["changed"], after["changed"], later["changed"]) == (True, True, False)
        assert before["diff"] == after["diff"]
        assert later["diff"] == []
        assert len(after["diff"]) == len(after["vms"])
        assert all(vm["disk_only"] and vm["snapshot"]["name"] == "first" for vm in after["vms"])
    assert "+first: disk-only, vda, current" in told.output


@pytest.mark.fleet
def test_playbook_takes_memory_where_it_can(fleet: list[Host]) -> None:
    """One VM that fails stops neither the other VMs nor the other hosts, and the run fails in the end."""
    reset_fleet(fleet)
    one = next((host for host in fleet if host.invtsc), None) or pytest.skip("tsc01 runs on no host")
    memory = ("snapshot_name=with-memory", "snapshot_memory=yes")
    mixed = json.dumps({"snapshot_vms": ["web*", "tsc*"] if one.invtsc else ["web*"]})
    done = run([*with_variables(*memory, mixed), "-l", one.name])
    vms = done.vms()
    assert done.status != 0
    assert vms[one.name, "tsc01"]["error_code"] == "memory_blocked"
    assert vms[one.name, "web01"]["snapshot"]["include_memory"]
    assert "Failed, see above: tsc01" in done.output
    assert one.virsh("domstate", "web01").strip() == "running"


def test_nobody_asked_is_nobody_waited_for(mock_fleet: Path) -> None:
    done = run(SNAPSHOT, mock_fleet, timeout=60)
    assert done.status == 0, done.output
    snapshots = [vm["snapshot"] for vm in done.vms().values()]
    assert len(snapshots) == 2 * len(VMS)
    names = {snapshot["name"] for snapshot in snapshots}
    assert len(names) == 1  # of the fleet, not of each host
    assert names.pop().startswith("fleet-20")
    assert not any(snapshot["include_memory"] for snapshot in snapshots)


@pytest.mark.parametrize(("answer", "memory"), [("", False), ("no", False), ("yes", True)])
def test_it_asks(mock_fleet: Path, answer: str, memory: bool) -> None:
    done = run_on_terminal(
        with_variables("snapshot_vms=web01"), [(NAME_QUESTION, "asked"), (MEMORY_QUESTION, answer)], mock_fleet
    )
    assert done.status == 0, done.output
    assert [vm["snapshot"]["name"] for vm in done.vms().values()] == ["asked", "asked"]
    assert [vm["snapshot"]["include_memory"] for vm in done.vms().values()] == [memory, memory]


def test_enter_twice_is_a_name_with_the_time(mock_fleet: Path) -> None:
    done = run_on_terminal(
        with_variables("snapshot_vms=web01"), [(NAME_QUESTION, ""), (MEMORY_QUESTION, "")], mock_fleet
    )
    assert {vm["snapshot"]["name"][:8] for vm in done.vms().values()} == {"fleet-20"}


def test_what_is_given_is_not_asked(mock_fleet: Path) -> None:
    given = with_variables("snapshot_vms=web01", "snapshot_name=given", "snapshot_memory=no")
    done = run_on_terminal(given, [], mock_fleet)
    assert done.status == 0, done.output
    assert "[no]" not in done.output
    assert {vm["snapshot"]["name"] for vm in done.vms().values()} == {"given"}


def test_check_do_check_again_do_again(mock_fleet: Path) -> None:
    words = with_variables("snapshot_name=s", "snapshot_memory=no")
    check, do, check_again, do_again = (
        run([*words, *more], mock_fleet) for more in (["--check", "--diff"], ["--diff"], ["--check", "--diff"], [])
    )
    assert [one.status for one in (check, do, check_again, do_again)] == [0, 0, 0, 0], check.output + do.output
    assert [changed(one) for one in (check, do, check_again, do_again)] == [[True] * 2] * 2 + [[False] * 2] * 2
    for host, result in do.results.items():
        assert check.results[host]["diff"] == result["diff"] != []
        assert check_again.results[host]["diff"] == do_again.results[host]["diff"] == []
    assert "+s: disk-only, vda, current" in check.output
    assert "web01: snapshot 's' taken (disk-only, quiesced)" in do.output
    assert "web01: snapshot 's' is there already" in do_again.output


def test_one_failing_vm_stops_nobody_else(mock_fleet: Path) -> None:
    state = json.loads(mock_fleet.with_name("mock-1.json").read_text())
    state["vms"][0]["persistent"] = False
    mock_fleet.with_name("mock-1.json").write_text(json.dumps(state))
    done = run(with_variables("snapshot_name=s"), mock_fleet)
    failed = {where: vm["error_code"] for where, vm in done.vms().items() if vm["failed"]}
    assert done.status != 0
    assert failed == {("mock-1", state["vms"][0]["name"]): "transient_domain"}
    assert sum(vm["changed"] for vm in done.vms().values()) == 2 * len(VMS) - 1
    assert "is a transient domain" in done.output


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        (["snapshot_name=a/b"], "The snapshot name 'a/b' has a '/' in it"),
        (["snapshot_name=s", "snapshot_vms=nobody"], "No VM on this host matches 'nobody'"),
        (["snapshot_name=s", "snapshot_memory=perhaps"], "'perhaps' is not a valid boolean"),
    ],
)
def test_bad_input_is_said_and_changes_nothing(mock_fleet: Path, variables: Sequence[str], says: str) -> None:
    before = mock_fleet.with_name("mock-1.json").read_text()
    done = run(with_variables(*variables), mock_fleet)
    assert done.status != 0
    assert says in done.output
    assert mock_fleet.with_name("mock-1.json").read_text() == before


def playbook(name: str, *variables: str) -> list[str]:
    words = [word for variable in variables for word in ("-e", variable)]
    return ["ansible-playbook", f"limiquantix.kvm.{name}", *words]


def take(inventory: Path, *names: str) -> None:
    for name in names:
        done = run(with_variables(f"snapshot_name={name}", "snapshot_memory=no"), inventory)
        assert done.status == 0, done.output


def current(inventory: Path, vm: str) -> list[str]:
    """Return what a VM's present is based on, on every mock."""
    states = [json.loads(path.read_text()) for path in sorted(inventory.parent.glob("mock-?.json"))]
    return [one["current"] for state in states for one in state["vms"] if one["name"] == vm]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (playbook("revert"), "Say which snapshot and which VMs"),
        (playbook("revert", "snapshot_name=a"), "Say which snapshot and which VMs"),
        (playbook("revert", "snapshot_name=a", "snapshot_vms=*"), "give -e snapshot_confirm=yes"),
        (playbook("revert", "snapshot_name=a", "snapshot_vms=*", "snapshot_confirm=y"), "give -e snapshot_confirm=yes"),
        (playbook("remove"), "Say which snapshot"),
        (playbook("remove", "snapshot_name=a", "snapshot_vms=nobody"), "No VM on this host matches 'nobody'"),
        (playbook("prune", "snapshot_older_than=7"), "'7', which is no age"),
    ],
)
def test_what_is_not_said_plainly_is_not_done(mock_fleet: Path, words: Sequence[str], says: str) -> None:
    before = mock_fleet.with_name("mock-1.json").read_text()
    done = run(words, mock_fleet)
    assert done.status != 0
    assert says in done.output
    assert mock_fleet.with_name("mock-1.json").read_text() == before


@pytest.mark.parametrize(("answer", "based_on"), [("", "b"), ("no", "b"), ("yes", "a")])
def test_revert_asks_whether_you_are_sure(mock_fleet: Path, answer: str, based_on: str) -> None:
    take(mock_fleet, "a", "b")
    questions = [("go back to", "a"), ("Which VMs", "web*,off*"), ("Are you sure? [no]:", answer)]
    done = run_on_terminal(playbook("revert"), questions, mock_fleet)
    assert (done.status == 0) == (answer == "yes"), done.output
    assert current(mock_fleet, "web01") == current(mock_fleet, "off01") == [based_on] * 2
    assert current(mock_fleet, "db01") == ["b", "b"]


def test_check_mode_of_a_revert_needs_no_confirmation(mock_fleet: Path) -> None:
    take(mock_fleet, "a", "b")
    words = playbook("revert", "snapshot_name=a", "snapshot_vms=web01")
    check = run([*words, "--check", "--diff"], mock_fleet)
    assert check.status == 0, check.output
    assert "+reverted to: a" in check.output
    assert current(mock_fleet, "web01") == ["b", "b"]
    done = run([*words, "-e", "snapshot_confirm=yes", "-e", "snapshot_keep_current=yes"], mock_fleet)
    assert done.status == 0, done.output
    assert "kept as 'before-a'" in done.output
    assert current(mock_fleet, "web01") == ["a", "a"]


def test_remove_and_prune_over_the_fleet(mock_fleet: Path) -> None:
    take(mock_fleet, "a", "b", "c")
    words = playbook("remove", "snapshot_name=b")
    check, do, again = (run([*words, *more], mock_fleet) for more in (["--check", "--diff"], ["--diff"], []))
    assert [changed(one) for one in (check, do, again)] == [[True] * 2, [True] * 2, [False] * 2], do.output
    assert [one["diff"] for one in check.results.values()] == [one["diff"] for one in do.results.values()]
    nothing = run(playbook("prune"), mock_fleet)
    assert (nothing.status, changed(nothing)) == (0, [False] * 2), nothing.output
    words = playbook("prune", "snapshot_older_than=0d", "snapshot_keep_last=1")
    check, do, again = (run([*words, *more], mock_fleet) for more in (["--check", "--diff"], ["--diff"], []))
    assert [changed(one) for one in (check, do, again)] == [[True] * 2, [True] * 2, [False] * 2], do.output
    assert {tuple(vm["removed"]) for vm in do.vms().values()} == {("a",)}
    assert current(mock_fleet, "web01") == ["c", "c"]


def test_prune_asks(mock_fleet: Path) -> None:
    take(mock_fleet, "a", "b")
    questions = [("older than [30d]:", "0d"), ("the newest [3]:", "1")]
    done = run_on_terminal(playbook("prune"), questions, mock_fleet)
    assert done.status == 0, done.output
    assert {tuple(vm["removed"]) for vm in done.vms().values()} == {("a",)}


@pytest.mark.parametrize("target", ["vm_snapshot", "vm_snapshot_info", "vm_snapshot_prune"])
def test_integration_target(host: Host, tmp_path: Path, target: str) -> None:
    """What ansible-test runs on the mock holds on every libvirt."""
    reset_vm(host, "web01", "off01", *(["tsc01"] if host.invtsc else []))
    role = {"name": str(TARGETS / target)}
    task = {"ansible.builtin.include_role": role, "vars": {f"{target}_backend": "libvirt"}}
    play = {"hosts": host.name, "gather_facts": False, "tasks": [task]}
    (tmp_path / "play.yml").write_text(json.dumps([play]))
    done = run(["ansible-playbook", "play.yml"], folder=tmp_path)
    assert done.status == 0, done.output
