# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which host has which VM: silent hosts, VMs on two hosts, names that are nowhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .mock_fleet import flat, mock_fleet, playbook, states
from .playbook_run import run

__all__ = ("mock_fleet",)


def keep(inventory: Path, host: str, *vms: str) -> None:
    """Leave a mock these VMs only."""
    path = inventory.with_name(f"{host}.json")
    state = json.loads(path.read_text())
    path.write_text(json.dumps({**state, "vms": [vm for vm in state["vms"] if vm["name"] in vms]}))


def test_what_is_not_there_on_any_host_is_said_once(mock_fleet: Path) -> None:
    before = states(mock_fleet)
    for name in ("remove", "revert"):
        variables = ["snapshot_name=s", "snapshot_confirm=yes", '{"snapshot_vms": ["web01", "nobody", "x-*"]}']
        done = run(playbook(name, *variables), mock_fleet)
        assert done.status != 0
        assert done.output.count("fatal: ") == 1
        assert "No host has a VM nobody" in flat(done)
    assert states(mock_fleet) == before


@pytest.mark.parametrize("patterns", ["x-*", "web01,!web*", "!*"])
def test_a_selection_of_which_no_host_has_a_vm_is_no_success(mock_fleet: Path, patterns: str) -> None:
    before = states(mock_fleet)
    for name, what in (("snapshot", "snapshot_name=s"), ("prune", "snapshot_names=s")):
        done = run(playbook(name, what, f"snapshot_vms={patterns}"), mock_fleet)
        assert (done.status != 0, done.output.count("fatal: ")) == (True, 1), done.output
        assert f"No host has a VM that snapshot_vms means: {patterns}. Correct snapshot_vms." in flat(done)
    assert states(mock_fleet) == before


def test_a_fleet_without_any_vm_is_told(mock_fleet: Path) -> None:
    for host in ("mock-1", "mock-2"):
        keep(mock_fleet, host)
    done = run(playbook("prune"), mock_fleet)
    assert (done.status, "No host that answered has a VM." in flat(done)) == (0, True), done.output


def test_each_host_has_its_own_vms(mock_fleet: Path) -> None:
    """What one host has need not be on another, which may have no VM at all."""
    keep(mock_fleet, "mock-1", "web01", "db01")
    keep(mock_fleet, "mock-2", "files01")
    uuid = run(playbook("snapshot", "snapshot_vms=files01", "snapshot_name=s"), mock_fleet).vms()["mock-2", "files01"][
        "uuid"
    ]
    mixed = uuid[:8].upper() + uuid[8:]
    for name, variables in (
        ("snapshot", ["snapshot_name=t"]),
        ("revert", ["snapshot_name=t", "snapshot_confirm=yes"]),
        (
            "prune",
            ["snapshot_keep_last=0", "snapshot_older_than=0d", "snapshot_names=s", "snapshot_allow_keep_nothing=yes"],
        ),
        ("remove", ["snapshot_name=t"]),
    ):
        done = run(playbook(name, f"snapshot_vms=web01,{mixed},x*", *variables), mock_fleet)
        assert done.status == 0, done.output
        assert set(done.vms()) == {("mock-1", "web01"), ("mock-2", "files01")}
    keep(mock_fleet, "mock-1")
    for patterns in ("*", "files01", "!x"):
        done = run(playbook("snapshot", "snapshot_name=u", f"snapshot_vms={patterns}"), mock_fleet)
        assert done.status == 0, done.output
        assert set(done.vms()) == {("mock-2", "files01")}
        assert "of 0 VMs: nothing to do" in done.output


def test_what_a_silent_host_has_is_unknown(mock_fleet: Path) -> None:
    """It may have that VM: the others go on, and the run fails because of that host."""
    inventory = json.loads(mock_fleet.read_text())
    inventory["hypervisors"]["hosts"]["mock-3"] = {
        "ansible_connection": "ssh",
        "ansible_host": "127.0.0.1",
        "ansible_port": 9,
    }
    mock_fleet.write_text(json.dumps(inventory))
    done = run(playbook("snapshot", "snapshot_vms=web01,nobody", "snapshot_name=s"), mock_fleet)
    assert done.status != 0
    assert "nobody: unknown. No host that answered has such a VM, and mock-3 did not answer." in flat(done)
    assert {where: vm["changed"] for where, vm in done.vms().items()} == {
        ("mock-1", "web01"): True,
        ("mock-2", "web01"): True,
    }


def test_a_host_that_cannot_say_what_it_has(mock_fleet: Path) -> None:
    mock_fleet.with_name("mock-2.json").write_text("no JSON")
    done = run(playbook("snapshot", "snapshot_vms=web01,nobody", "snapshot_name=s"), mock_fleet)
    assert done.status != 0
    assert "nobody: unknown" in flat(done)
    assert "The mock's state file" in flat(done)
    assert done.vms()["mock-1", "web01"]["changed"]


def give_uuid(inventory: Path, host: str, vm: str, **values: str) -> None:
    path = inventory.with_name(f"{host}.json")
    state = json.loads(path.read_text())
    next(one for one in state["vms"] if one["name"] == vm).update(uuid="12345678-0000-4000-8000-000000000000", **values)
    path.write_text(json.dumps(state))


def test_one_vm_that_runs_on_two_hosts(mock_fleet: Path) -> None:
    give_uuid(mock_fleet, "mock-1", "web01")
    give_uuid(mock_fleet, "mock-2", "db01", state="paused")
    before = states(mock_fleet)
    for name, what in (("snapshot", "snapshot_name=s"), ("prune", "snapshot_names=s")):
        done = run(playbook(name, what, "snapshot_confirm=yes", "snapshot_vms=*"), mock_fleet)
        assert done.status != 0
        assert done.output.count("fatal: ") == 1
        assert "web01 (12345678-0000-4000-8000-000000000000) runs on mock-1 and mock-2" in flat(done)
        assert "If it is moving from one to the other (live migration), run this again" in flat(done)
    assert states(mock_fleet) == before
    other = run(playbook("snapshot", "snapshot_name=s", "snapshot_vms=off01"), mock_fleet)
    assert other.status == 0, other.output


def test_what_a_migration_left_behind_is_left_alone(mock_fleet: Path) -> None:
    give_uuid(mock_fleet, "mock-1", "web01")
    give_uuid(mock_fleet, "mock-2", "web01", state="shutoff")
    for variables in (["snapshot_vms=web01,off01"], ['{"snapshot_vms": ["*"]}']):
        done = run(playbook("snapshot", "snapshot_name=s", *variables), mock_fleet)
        assert done.status == 0, done.output
        assert ("mock-1", "web01") in done.vms()
        assert ("mock-2", "web01") not in done.vms()
        assert ("mock-2", "off01") in done.vms()
        assert "web01: left alone, off on this host and running on another one" in flat(done)
