# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Variables that are slips are refused by their names."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from .mock_fleet import TESTS, flat, mock_fleet, playbook, states, with_variables
from .playbook_run import run

__all__ = ("mock_fleet",)

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
    assert told | {"snapshot_max_hold"} == known  # that of snapshot_group


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
