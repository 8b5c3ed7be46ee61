# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fleet playbook, and the one command of the README, over all hypervisors of the lab."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from contract.world import AgentWorld
from lab.api import Host, all_hosts, hosts, reset_vm

from .playbook_run import SNAPSHOT, VMS, Run, own_vm, reset_fleet, run, run_on_terminal, vms_of

TESTS = Path(__file__).resolve().parents[1]
FIXTURE = TESTS / "fixtures" / "mock" / "fleet.json"
TARGETS = TESTS / "integration" / "targets"


@pytest.fixture(scope="module")
def fleet() -> list[Host]:
    """All hypervisors that are up."""
    return hosts() or pytest.skip("no hypervisor is up; start them with: dev/lab/lab up")


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


def playbook(name: str, *variables: str) -> list[str]:
    words = [word for variable in variables for word in ("-e", variable)]
    return ["ansible-playbook", f"limiquantix.kvm.{name}", *words]


def flat(done: Run) -> str:
    """Return what was said without line ends, which a terminal puts anywhere."""
    return " ".join(done.output.split())


def states(inventory: Path) -> list[str]:
    """Return what every mock holds."""
    return [path.read_text() for path in sorted(inventory.parent.glob("mock-?.json"))]


def keep(inventory: Path, host: str, *vms: str) -> None:
    """Leave a mock these VMs only."""
    path = inventory.with_name(f"{host}.json")
    state = json.loads(path.read_text())
    path.write_text(json.dumps({**state, "vms": [vm for vm in state["vms"] if vm["name"] in vms]}))


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


@pytest.mark.parametrize("terminal", [False, True])
def test_nobody_is_asked_and_nobody_waited_for(mock_fleet: Path, terminal: bool) -> None:
    """F26: ansible-runner and AWX give a terminal, and nobody sits at it."""
    done = run_on_terminal(SNAPSHOT, mock_fleet) if terminal else run(SNAPSHOT, mock_fleet, timeout=60)
    assert done.status == 0, done.output
    snapshots = [vm["snapshot"] for vm in done.vms().values()]
    assert len(snapshots) == 2 * len(VMS)
    names = {snapshot["name"] for snapshot in snapshots}
    assert len(names) == 1  # of the fleet, not of each host
    assert names.pop().startswith("fleet-20")
    assert not any(snapshot["include_memory"] for snapshot in snapshots)


@pytest.mark.parametrize(
    ("name", "variables", "says"),
    [
        ("remove", [], "snapshot_name and snapshot_vms must be given"),
        (
            "remove",
            ["snapshot_name=a"],
            "snapshot_vms must be given. Nothing was changed. Add for example: -e 'snapshot_vms=web*,!web-03'",
        ),
        ("remove", ["snapshot_name=a", "snapshot_vms="], "snapshot_vms must be given"),
        ("remove", ["snapshot_name=a", '{"snapshot_vms": []}'], "snapshot_vms must be given"),
        (
            "revert",
            ["snapshot_vms=*"],
            "snapshot_name must be given. Nothing was changed. Add for example: -e snapshot_name=pre-patch",
        ),
        ("revert", ["snapshot_name=a", "snapshot_vms=*"], "add -e snapshot_confirm=yes"),
        ("prune", [], None),
    ],
)
def test_a_terminal_is_nobody(mock_fleet: Path, name: str, variables: list[str], says: str | None) -> None:
    before = states(mock_fleet)
    done = run_on_terminal(playbook(name, *variables), mock_fleet)
    assert (done.status == 0) == (says is None), done.output
    assert (says or "nothing to prune") in flat(done)
    assert done.output.count("fatal: ") in {0, 1, 2}
    assert states(mock_fleet) == before
    assert says is None or not done.results  # no host was asked for anything


def test_what_is_not_there_on_any_host_is_said_once(mock_fleet: Path) -> None:
    before = states(mock_fleet)
    for name in ("remove", "revert"):
        variables = ["snapshot_name=s", "snapshot_confirm=yes", '{"snapshot_vms": ["web01", "nobody", "x-*"]}']
        done = run(playbook(name, *variables), mock_fleet)
        assert done.status != 0
        assert done.output.count("fatal: ") == 1
        assert "No host has a VM nobody" in flat(done)
    assert states(mock_fleet) == before


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
        ("prune", ["snapshot_keep_last=0", "snapshot_older_than=0d", "snapshot_names=s"]),
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
    for name in ("snapshot", "prune"):
        variables = ["snapshot_name=s", "snapshot_confirm=yes", "snapshot_vms=*"]
        done = run(playbook(name, *variables), mock_fleet)
        assert done.status != 0
        assert done.output.count("fatal: ") == 1
        assert "web01 (12345678-0000-4000-8000-000000000000) runs on mock-1 and mock-2" in flat(done)
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


SLIPS = [
    ("snapshot_vm", "snapshot_vms"),
    ("snapshots_vms", "snapshot_vms"),
    ("snapshot_vms_", "snapshot_vms"),
    ("snapshot_nmae", "snapshot_name"),
    ("snapshot_older_then", "snapshot_older_than"),
]


@pytest.mark.parametrize(("name", "where"), [("snapshot", "extra"), ("prune", "group"), ("revert", "host")])
def test_a_slip_is_refused_by_its_name(mock_fleet: Path, name: str, where: str) -> None:
    given = ["snapshot_name=s", "snapshot_vms=*", "snapshot_confirm=yes"]
    before = states(mock_fleet)
    if where == "extra":
        given += [f"{slip}=web01" for slip, _meant in SLIPS]
    else:
        inventory = json.loads(mock_fleet.read_text())
        group = inventory["hypervisors"]
        (group["vars"] if where == "group" else group["hosts"]["mock-2"]).update(dict(SLIPS))
        mock_fleet.write_text(json.dumps(inventory))
    done = run(playbook(name, *given), mock_fleet)
    assert done.status != 0
    assert done.output.count("fatal: ") == 1
    for slip, meant in SLIPS:
        assert f"{slip} is not a variable of this playbook. Did you mean {meant}?" in flat(done)
    assert (done.results, states(mock_fleet)) == ({}, before)


def test_a_slip_would_send_the_agent_to_every_host(mock_fleet: Path) -> None:
    done = run(playbook("deploy_agent", "qx_node_host=mock-1", "qx_node_keep_release=2"), mock_fleet)
    assert done.status != 0
    for slip, meant in (("qx_node_host", "qx_node_hosts"), ("qx_node_keep_release", "qx_node_keep_releases")):
        assert f"{slip} is not a variable of this playbook. Did you mean {meant}?" in flat(done)
    assert "TASK [Build once" not in done.output


def test_variables_of_others_are_none_of_ours(mock_fleet: Path) -> None:
    inventory = json.loads(mock_fleet.read_text())
    inventory["hypervisors"]["vars"].update(snapshot_lvm_action="snapshot", snapshot_lvm_vg="vg0", vms=["a"], name="x")
    mock_fleet.write_text(json.dumps(inventory))
    done = run(with_variables("snapshot_name=s"), mock_fleet)
    assert done.status == 0, done.output


def test_what_is_given_in_the_inventory_and_by_a_playbook_above(mock_fleet: Path, tmp_path: Path) -> None:
    inventory = json.loads(mock_fleet.read_text())
    inventory["hypervisors"]["hosts"]["mock-1"]["snapshot_vms"] = "web01"
    inventory["hypervisors"]["hosts"]["mock-2"]["snapshot_vms"] = ["off01", "db*"]
    mock_fleet.write_text(json.dumps(inventory))
    above = [{"ansible.builtin.import_playbook": "limiquantix.kvm.snapshot", "vars": {"snapshot_name": "above"}}]
    (tmp_path / "above.yml").write_text(json.dumps(above))
    done = run(["ansible-playbook", "above.yml"], mock_fleet, tmp_path)
    assert done.status == 0, done.output
    assert set(done.vms()) == {("mock-1", "web01"), ("mock-2", "off01"), ("mock-2", "db01")}
    assert {vm["snapshot"]["name"] for vm in done.vms().values()} == {"above"}


def test_the_playbooks_know_their_variables() -> None:
    """Those at the top of each, those that it reads, and those that are no slips are the same."""
    folder = TESTS.parent / "playbooks"
    known = set(re.findall(r"^      - (snapshot_\w+)$", (folder / "tasks" / "given.yml").read_text(), re.MULTILINE))
    told: set[str] = set()
    for name in ("snapshot", "remove", "revert", "prune"):
        top, _play, rest = (folder / f"{name}.yml").read_text().partition("\n- name: ")
        here = set(re.findall(r"\bsnapshot_\w+", top))
        own = set(re.findall(r"\bsnapshot_\w+", rest)) - here
        assert own <= {
            "snapshot_meant",
            "snapshot_needed",
            "snapshot_result",
            "snapshot_wanted",
            "snapshot_name_with_time",
        }
        assert {one for one in here if one not in rest} == set()
        assert rest.index("import_tasks: tasks/given.yml") < rest.index("import_tasks: tasks/find.yml")
        assert rest.index("import_tasks: tasks/find.yml") < rest.index("limiquantix.kvm.vm_snapshot")
        told |= here
    assert told == known


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


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        (["snapshot_name=a/b"], "The snapshot name 'a/b' has a '/' in it"),
        (["snapshot_name=s", "snapshot_vms=nobody"], "No host has a VM nobody"),
        (["snapshot_name=s", "snapshot_vms="], "which cannot be the name of a VM"),
        (
            ["snapshot_name=s", '{"snapshot_vms": ["*", "!"]}'],
            "vms has the entry '!', which cannot be the name of a VM",
        ),
        (["snapshot_name=s", "snapshot_memory=perhaps"], "'perhaps' is not a valid boolean"),
    ],
)
def test_bad_input_is_said_and_changes_nothing(mock_fleet: Path, variables: Sequence[str], says: str) -> None:
    before = mock_fleet.with_name("mock-1.json").read_text()
    done = run(with_variables(*variables), mock_fleet)
    assert done.status != 0
    assert says in done.output
    assert mock_fleet.with_name("mock-1.json").read_text() == before


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
        (playbook("revert", "snapshot_name=a", "snapshot_vms=*", "snapshot_confirm=y"), "add -e snapshot_confirm=yes"),
        (playbook("remove", "snapshot_name=a", "snapshot_vms=nobody"), "No host has a VM nobody"),
        (playbook("prune", "snapshot_older_than=7"), "'7', which is not an age"),
    ],
)
def test_what_is_not_said_plainly_is_not_done(mock_fleet: Path, words: Sequence[str], says: str) -> None:
    before = mock_fleet.with_name("mock-1.json").read_text()
    done = run(words, mock_fleet)
    assert done.status != 0
    assert says in done.output
    assert mock_fleet.with_name("mock-1.json").read_text() == before


@pytest.mark.parametrize(("answer", "based_on"), [("", "b"), ("no", "b"), ("yes", "a")])
def test_revert_wants_to_be_confirmed(mock_fleet: Path, answer: str, based_on: str) -> None:
    take(mock_fleet, "a", "b")
    words = playbook("revert", "snapshot_name=a", "snapshot_vms=web*,off*", f"snapshot_confirm={answer}")
    done = run(words, mock_fleet)
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
    done = run(["ansible-playbook", "play.yml"], folder=tmp_path)
    assert done.status == 0, done.output
