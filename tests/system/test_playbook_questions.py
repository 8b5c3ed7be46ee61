# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What playbooks ask and what they do not wait for: confirmations, terminals, things not said plainly."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from .mock_fleet import current, flat, mock_fleet, playbook, states, take
from .playbook_run import SNAPSHOT, VMS, run, run_on_terminal

__all__ = ("mock_fleet",)


@pytest.mark.parametrize("terminal", [False, True])
def test_nobody_is_asked_and_nobody_waited_for(mock_fleet: Path, terminal: bool) -> None:
    """F26: ansible-runner and AWX give a terminal, and nobody sits at it."""
    done = run_on_terminal(SNAPSHOT, mock_fleet) if terminal else run(SNAPSHOT, mock_fleet)
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
