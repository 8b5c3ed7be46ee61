# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values that are not what they look like, and variables of another playbook: each let more go than was meant, or nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .mock_fleet import flat, mock_fleet, playbook, states, take, with_variables
from .playbook_run import run

__all__ = ("mock_fleet",)

CONFIRMED = "snapshot_confirm=yes"


@pytest.mark.parametrize(
    ("name", "variables", "says"),
    [
        (
            "snapshot",
            ['{"snapshot_name": 20261123}'],
            "snapshot_name is 20261123, which YAML reads as int and not as text.",
        ),
        ("snapshot_group", ['{"snapshot_name": 2026}', "snapshot_vms=db01"], "Put it in quotes."),
        ("snapshot", ["snapshot_name=s", '{"snapshot_vms": {"off01": {}}}'], "snapshot_vms is a mapping."),
        ("prune", ["snapshot_name=gold"], "Did you mean snapshot_names?"),
        ("prune", ["snapshot_protect=", "snapshot_keep_last=1"], "protect has '', which is no name"),
        ("prune", ['snapshot_protect=["gold"]', "snapshot_keep_last=1"], "quotes that are a part of the text"),
        (
            "revert_group",
            ["snapshot_name=gold", "snapshot_vms=db01", CONFIRMED, "snapshot_keep_current=yes"],
            "A group's revert cannot keep what the VMs have now",
        ),
        (
            "remove_group",
            ["snapshot_name=gold", "snapshot_vms=web01"],
            "the snapshot of that name was taken by itself. Nothing was changed. To remove it, use limiquantix.kvm.remove.",
        ),
        (
            "remove",
            ['{"snapshot_labels": null}', "snapshot_name=gold", "snapshot_vms=*"],
            "labels of vm_snapshot has no value",
        ),
    ],
)
def test_what_is_not_what_it_looks_like_is_refused(
    mock_fleet: Path, name: str, variables: list[str], says: str
) -> None:
    take(mock_fleet, "gold", "later")
    before = states(mock_fleet)
    done = run(playbook(name, *variables), mock_fleet)
    assert (done.status != 0, says in flat(done)) == (True, True), done.output
    assert states(mock_fleet) == before


def test_hosts_that_only_the_inventory_names_do_not_limit_a_run(mock_fleet: Path) -> None:
    """A play chooses its hosts first; what was meant for one host would be done on all."""
    inventory = json.loads(mock_fleet.read_text())
    inventory["hypervisors"]["vars"]["snapshot_hosts"] = "mock-1"
    mock_fleet.write_text(json.dumps(inventory))
    before = states(mock_fleet)
    done = run(with_variables("snapshot_name=s"), mock_fleet)
    assert (done.status != 0, "this run is over mock-2 too" in flat(done)) == (True, True), done.output
    assert states(mock_fleet) == before
    limited = run([*with_variables("snapshot_name=s"), "-l", "mock-1"], mock_fleet)
    assert limited.status == 0, limited.output
    given = run(with_variables("snapshot_name=s", "snapshot_hosts=mock-2"), mock_fleet)
    assert given.status == 0, given.output


def test_removing_a_group_that_is_not_there_says_so(mock_fleet: Path) -> None:
    done = run(playbook("remove_group", "snapshot_name=g", "snapshot_vms=db01"), mock_fleet)
    assert done.status == 0, done.output
    assert "No selected VM has a snapshot 'g' that was taken with a group. Nothing was changed." in flat(done)


def test_a_vm_that_leaves_after_it_was_found_is_named_and_fails(mock_fleet: Path, tmp_path: Path) -> None:
    """As one that migrates to a host that had its turn already: between the two steps of the playbook it goes."""
    state = mock_fleet.with_name("mock-1.json")
    script = tmp_path / "leave.py"
    script.write_text(
        "import json, sys; from pathlib import Path; file = Path(sys.argv[1]); state = json.loads(file.read_text());"
        "state['vms'] = [vm for vm in state['vms'] if vm['name'] != 'web01']; file.write_text(json.dumps(state))"
    )
    source = (Path(__file__).resolve().parents[2] / "playbooks" / "snapshot.yml").read_text()
    leaves = f"""
    - name: Leave
      ansible.builtin.command: python3 {script} {state}
      when: inventory_hostname == 'mock-1'

    # The report below has one line"""
    assert source.count("\n    # The report below has one line") == 1
    for name in ("given", "find", "report"):
        source = source.replace(
            f"tasks/{name}.yml", str(Path(__file__).resolve().parents[2] / "playbooks" / "tasks" / f"{name}.yml")
        )
    (tmp_path / "play.yml").write_text(source.replace("\n    # The report below has one line", leaves))
    words = ["ansible-playbook", "play.yml", "-e", "snapshot_name=s", "-e", "snapshot_vms=web*"]
    done = run(words, mock_fleet, tmp_path)
    assert done.status != 0
    assert (
        "web01: nothing was done, as somebody moved, renamed or deleted it meanwhile. Run the playbook again."
        in flat(done)
    )
    assert done.output.count("fatal: ") == 1
