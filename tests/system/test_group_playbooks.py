# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbooks over groups: at one moment on all hosts or on none, and whoever comes later finishes or undoes what is left."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lab.api import Host, host_named, reset_vm
from lab.paths import INVENTORY

from .playbook_run import Run, run

slow = pytest.mark.skipif("LIMIQUANTIX_KVM_GROUP" not in os.environ, reason="make group")
FIXTURE = Path(__file__).resolve().parents[1] / "fixtures" / "mock" / "fleet.json"
_HOSTS = ("hv-forky", "hv-openrc")  # the newest libvirt, and one without systemd
_VMS = "db01,tsc01"
_HERE = "127.0.0.1"


def playbook(name: str, *variables: str, hosts: str = "hypervisors", vms: str = _VMS) -> list[str]:
    given = (f"snapshot_hosts={hosts}", "snapshot_name=g", f"snapshot_vms={vms}", *variables)
    return ["ansible-playbook", f"limiquantix.kvm.{name}", *(word for one in given for word in ("-e", one))]


@pytest.fixture
def pair() -> list[Host]:
    """Two hosts of the lab with pristine VMs."""
    found = [host for name in _HOSTS if (host := host_named(name))]
    if len(found) < len(_HOSTS):
        pytest.skip(f"{' and '.join(_HOSTS)} are not both up; start them with: dev/lab/lab up")
    for host in found:
        reset_vm(host, *_VMS.split(","))
    return found


@pytest.fixture
def mocks(tmp_path: Path) -> Path:
    """The inventory of two mock hypervisors, each with VMs of its own."""
    hosts = {name: {"snapshot_mock_path": str(tmp_path / f"{name}.json")} for name in ("mock-1", "mock-2")}
    for name in hosts:
        (tmp_path / f"{name}.json").write_text(FIXTURE.read_text())
    variables = {"ansible_connection": "local", "ansible_host": _HERE, "snapshot_backend": "mock"}
    variables["ansible_python_interpreter"] = "{{ ansible_playbook_python }}"
    inventory = tmp_path / "inventory.json"
    inventory.write_text(json.dumps({"hypervisors": {"hosts": hosts, "vars": variables}}))
    return inventory


def mock_vms(inventory: Path) -> Iterator[tuple[Path, dict[str, Any], dict[str, Any]]]:
    """Give each member of each mock, with the state that it is of; what is changed of that is not written."""
    for path in sorted(inventory.parent.glob("mock-?.json")):
        state = json.loads(path.read_text())
        for vm in state["vms"]:
            if vm["name"] in _VMS.split(","):
                yield path, state, vm


def groups(inventory: Path) -> list[list[str]]:
    """Return the labels of every snapshot of the members on all mocks, of each by their names."""
    return [sorted(one["labels"]) for _path, _state, vm in mock_vms(inventory) for one in vm.get("snapshots", ())]


def proof(done: Run) -> dict[str, Any]:
    """Return what the playbook has shown of the group."""
    found = re.search(r'"group": (\{.*?\})', done.output, re.DOTALL)
    assert found, done.output
    answer: dict[str, Any] = json.loads(found[1])
    return answer


def names_on(host: Host) -> list[str]:
    return [name for vm in _VMS.split(",") for name in host.virsh("snapshot-list", vm, "--name").split()]


def all_run(pair: list[Host]) -> bool:
    return all(host.virsh("domstate", vm).strip() == "running" for host in pair for vm in _VMS.split(","))


@pytest.mark.fleet
def test_a_group_over_two_hosts_is_taken_at_one_moment(pair: list[Host]) -> None:
    hosts = ",".join(_HOSTS)
    done = run(playbook("snapshot_group", hosts=hosts), INVENTORY)
    assert done.status == 0, done.output
    shown = proof(done)
    assert (shown["consistent"], shown["members"]) == (True, 4)
    assert 0 < shown["window_ms"] < shown["longest_hold_ms"] < 5000
    assert shown["clock_bound_ms"] < 500
    assert all_run(pair)
    assert [names_on(host) for host in pair] == [["g", "g"]] * 2


@slow
@pytest.mark.fleet
def test_a_group_over_two_hosts_is_reverted_and_removed(pair: list[Host]) -> None:
    hosts = ",".join(_HOSTS)
    assert run(playbook("snapshot_group", hosts=hosts), INVENTORY).status == 0
    for name in ("revert_group", "remove_group"):
        done = run(playbook(name, "snapshot_confirm=yes", hosts=hosts), INVENTORY)
        assert done.status == 0, done.output
        assert all_run(pair)
    assert [names_on(host) for host in pair] == [[]] * 2


@slow
@pytest.mark.fleet
def test_a_controller_that_dies_after_arming_leaves_nothing_held_and_the_next_run_undoes_it(pair: list[Host]) -> None:
    words = playbook("snapshot_group", hosts=",".join(_HOSTS))
    environment = {**os.environ, "ANSIBLE_INVENTORY": str(INVENTORY), "ANSIBLE_NOCOLOR": "true"}
    with subprocess.Popen(
        words, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout
        assert any("Wait for that moment" in line for line in process.stdout), "it never armed"
        os.killpg(process.pid, signal.SIGKILL)
    time.sleep(30)  # beyond the hard end: nobody is held any longer, whatever died
    assert all_run(pair)
    assert [names_on(host) for host in pair] == [["g", "g"]] * 2
    early = run(words, INVENTORY)
    assert early.status
    assert "may still be at work" in early.output
    time.sleep(90)  # beyond UNDO_AFTER: the run that died is no longer expected to confirm
    later = run(words, INVENTORY)
    assert later.status == 0, later.output
    assert "item=undo" in later.output
    assert proof(later)["consistent"]


@slow
def test_all_of_it_on_the_mock_and_a_second_run_changes_nothing(mocks: Path) -> None:
    checked = run([*playbook("snapshot_group"), "--check", "--diff"], mocks)
    assert checked.status == 0, checked.output
    assert groups(mocks) == []
    done = run(playbook("snapshot_group"), mocks)
    assert done.status == 0, done.output
    assert proof(done)["consistent"]
    assert groups(mocks) == [["group", "group_members"]] * 4
    again = run(playbook("snapshot_group"), mocks)
    assert (again.status, "already" in again.output, "changed=0" in again.output) == (0, True, True)
    part = run(playbook("revert_group", "snapshot_confirm=yes", vms="db01"), mocks)
    assert part.status
    assert "not selected" in part.output
    assert run(playbook("revert_group", "snapshot_confirm=yes"), mocks).status == 0
    assert run(playbook("remove_group"), mocks).status == 0
    assert groups(mocks) == []
    assert run(playbook("remove_group"), mocks).status == 0


@slow
def test_one_vm_that_is_refused_stops_the_group_everywhere(mocks: Path) -> None:
    path, state, vm = list(mock_vms(mocks))[-1]
    vm["disks"][0]["block_job"] = True
    path.write_text(json.dumps(state))
    done = run(playbook("snapshot_group"), mocks)
    assert done.status
    assert "Nothing was changed on any host" in done.output
    assert groups(mocks) == []


@slow
def test_a_host_that_does_not_answer_stops_the_group(mocks: Path) -> None:
    (mocks.parent / "mock-2.json").write_text("nonsense")
    done = run(playbook("snapshot_group"), mocks)
    assert done.status
    assert "mock-2: no answer" in done.output


@slow
@pytest.mark.parametrize(("seconds", "status"), [(1.0, 0), (7.0, 2)])
def test_a_slow_member_gets_all_the_time_once_and_then_all_is_undone(mocks: Path, seconds: float, status: int) -> None:
    path, state, vm = next(mock_vms(mocks))
    vm["slow_seconds"] = seconds
    path.write_text(json.dumps(state))
    done = run(playbook("snapshot_group"), mocks)
    assert done.status == status, done.output
    assert "before all disks were switched" in done.output or not status
    assert groups(mocks) == ([["group", "group_members"]] * 4 if not status else [])


def left(inventory: Path, pending: int, *, members: int = 4) -> None:
    """Leave the mocks as a run that died would: the snapshots of the first members are pending, the rest is confirmed."""
    taken = run(playbook("snapshot_group"), inventory)
    assert taken.status == 0, taken.output
    for number, (_path, _state, vm) in enumerate(list(mock_vms(inventory))):
        path = _path
        state = json.loads(path.read_text())
        labels = next(one for one in state["vms"] if one["name"] == vm["name"])["snapshots"][0]["labels"]
        labels.update({"group_pending": "before 1.0"} if number < pending else {})
        labels["group_members"] += "" if members == 4 else ",gone"
        path.write_text(json.dumps(state))


@slow
@pytest.mark.parametrize(
    ("pending", "members", "says", "after"),
    [
        (2, 4, "item=confirm", [["group", "group_members"]] * 4),
        (4, 4, "item=undo", [["group", "group_members"]] * 4),  # and taken anew
        (4, 5, "group_undecided", [["group", "group_members", "group_pending"]] * 4),
    ],
)
def test_whoever_comes_later_decides(
    mocks: Path, pending: int, members: int, says: str, after: list[list[str]]
) -> None:
    left(mocks, pending, members=members)
    checked = run([*playbook("snapshot_group"), "--check"], mocks)
    assert checked.status
    done = run(playbook("snapshot_group"), mocks)
    assert says in done.output
    assert (done.status == 0) is (members == 4), done.output
    assert groups(mocks) == after
