# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbooks over a fleet of real hosts, over a fleet of mocks, and the integration targets on the lab."""

from __future__ import annotations

import json
import shutil
import sys
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from contract.agent_world import AgentWorld
from lab.api import Host, all_hosts, hosts, reset_vm

from .mock_fleet import TESTS, current, flat, mock_fleet, playbook, take, with_variables
from .playbook_run import VMS, Run, own_vm, reset_fleet, run, vms_of

__all__ = ("mock_fleet",)

TARGETS = TESTS / "integration" / "targets"


@pytest.fixture(scope="module")
def fleet() -> list[Host]:
    """All hypervisors that are up."""
    return hosts() or pytest.skip("no hypervisor is up; start them with: dev/lab/lab up")


@pytest.mark.fleet
def test_hosts_with_vms_of_their_own_and_one_without(fleet: list[Host]) -> None:
    """Take, revert and remove over hosts that are not alike: what one has the others have not, and one has nothing."""
    empty = next((host for host in all_hosts() if host.spec.vms == ()), None) or pytest.skip("hv-empty is not up")
    own = {(host.name, own_vm(host)) for host in fleet}
    for host in fleet:
        reset_vm(host, own_vm(host))
    named = ",".join(sorted(vm for _host, vm in own))
    words = ["snapshot_hosts=hypervisors:empty", "snapshot_name=which", "snapshot_confirm=yes"]
    for name in ("snapshot", "revert", "remove"):
        done = run(playbook(name, *words, f"snapshot_vms={named},nothing-*"))
        assert done.status == 0, done.output
        assert {where for where, vm in done.vms().items() if not vm["failed"]} == own
        assert (done.results[empty.name]["vms"], done.results[empty.name]["changed"]) == ([], False)
    before = {host.name: host.virsh("snapshot-list", own_vm(host), "--name") for host in fleet}
    done = run(playbook("snapshot", *words, f"snapshot_vms={named},only-nobody"))
    assert (done.status != 0, done.output.count("fatal: ")) == (True, 1)
    assert "No host has a VM only-nobody" in flat(done)
    assert {host.name: host.virsh("snapshot-list", own_vm(host), "--name") for host in fleet} == before


def changed(done: Run) -> list[bool]:
    return [result["changed"] for result in done.results.values()]


@pytest.mark.skipif(
    not shutil.which("cargo"), reason="there is no cargo to build the agent; install Debian's package cargo"
)
def test_the_playbooks_reach_the_node_agents(tmp_path: Path) -> None:
    """Each host asks its own agent, at the address that the inventory has for it."""
    agent = AgentWorld(tmp_path)
    agent.reset()
    host = {"snapshot_backend": "qx_node", "snapshot_url": f"http://127.0.0.1:{agent.port}"}
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    inventory = tmp_path / "inventory.yml"
    inventory.write_text(json.dumps({"hypervisors": {"hosts": {"hv-agent": host}, "vars": local}}))
    words = ("snapshot_name=s1", "snapshot_vms=web01,off01", "snapshot_confirm=yes")
    try:
        told = run([*playbook("snapshot", *words), "--check"], inventory)
        assert (told.status, agent.info("web01")["snapshots"]) == (0, []), told.output
        for name, left in (("snapshot", ["s1"]), ("revert", ["s1"]), ("remove", [])):
            done = run(playbook(name, *words), inventory)
            assert done.status == 0, done.output
            assert {vm: [one["name"] for one in agent.info(vm)["snapshots"]] for vm in ("web01", "off01", "tsc01")} == {
                "web01": left, "off01": left, "tsc01": []
            }  # fmt: skip
    finally:
        agent.close()


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


def test_what_expires_and_what_is_kept_by_periods(mock_fleet: Path) -> None:
    words = ["snapshot_name=s", "snapshot_vms=web01"]
    taken = run(playbook("snapshot", *words, "snapshot_expires=1s", "snapshot_labels=team=web,change=42"), mock_fleet)
    assert taken.status == 0, taken.output
    for vm in taken.vms().values():
        assert vm["snapshot"]["labels"] == {"team": "web", "change": "42"}
        assert vm["snapshot"]["expires"] > vm["snapshot"]["created_at"]
    # The day is that of the controller, which is a day ahead of half the world here; the defaults of age and number are off.
    zone = ["env", "TZ=Pacific/Kiritimati"]
    kept = run([*zone, *playbook("prune", "snapshot_vms=web01", "snapshot_keep_daily=1")], mock_fleet)
    assert kept.status == 0, kept.output
    for where, vm in kept.vms().items():
        at = datetime.fromisoformat(taken.vms()[where]["snapshot"]["created_at"]).astimezone(
            ZoneInfo("Pacific/Kiritimati")
        )
        assert vm["kept_because"] == {"s": [f"daily {at:%Y-%m-%d}"]}
    other = run(playbook("prune", "snapshot_expired=yes", "snapshot_labels=team=db"), mock_fleet)
    assert {vm["changed"] for vm in other.vms().values()} == {False}, other.output
    gone = run(playbook("prune", "snapshot_expired=yes", "snapshot_labels=team=web"), mock_fleet)
    assert {name: vm["removed"] for (_host, name), vm in gone.vms().items() if vm["changed"]} == {"web01": ["s"]}


def test_a_removal_asks_for_all_the_labels(mock_fleet: Path) -> None:
    words = ["snapshot_name=s", "snapshot_vms=web01,db01"]
    assert run(playbook("snapshot", *words, "snapshot_labels=team=web,change=42"), mock_fleet).status == 0
    left = run(playbook("remove", *words, "snapshot_labels=team=web,change=43"), mock_fleet)
    assert {vm["changed"] for vm in left.vms().values()} == {False}, left.output
    gone = run(playbook("remove", *words, "snapshot_labels=team=web"), mock_fleet)
    assert {vm["changed"] for vm in gone.vms().values()} == {True}, gone.output


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
    assert "web01: snapshot 's' already exists" in do_again.output


def test_one_failing_vm_stops_nobody_else(mock_fleet: Path) -> None:
    state = json.loads(mock_fleet.with_name("mock-1.json").read_text())
    state["vms"][0]["persistent"] = False
    mock_fleet.with_name("mock-1.json").write_text(json.dumps(state))
    done = run(with_variables("snapshot_name=s"), mock_fleet)
    failed = {where: vm["error_code"] for where, vm in done.vms().items() if vm["failed"]}
    assert done.status != 0
    assert failed == {("mock-1", state["vms"][0]["name"]): "transient_domain"}
    assert sum(vm["changed"] for vm in done.vms().values()) == 2 * len(VMS) - 1
    assert "is not defined in libvirt (transient)" in done.output


def test_remove_and_prune_over_the_fleet(mock_fleet: Path) -> None:
    take(mock_fleet, "a", "b", "c")
    words = playbook("remove", "snapshot_name=b", "snapshot_vms=*")
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


@pytest.mark.parametrize("target", ["vm_snapshot", "vm_snapshot_info", "vm_snapshot_prune"])
def test_an_integration_target_passes_on_every_libvirt(host: Host, tmp_path: Path, target: str) -> None:
    """What ansible-test runs on the mock holds on every libvirt."""
    reset_vm(host, "web01", "off01", *(["tsc01"] if host.invtsc else []))
    role = {"name": str(TARGETS / target)}
    task = {"ansible.builtin.include_role": role, "vars": {f"{target}_backend": "libvirt"}}
    play = {"hosts": host.name, "gather_facts": False, "tasks": [task]}
    (tmp_path / "play.yml").write_text(json.dumps([play]))
    done = run(["ansible-playbook", "play.yml"], folder=tmp_path, timeout=900)
    assert done.status == 0, done.output
