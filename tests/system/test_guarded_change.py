# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The roles locate and guarded_change on hypervisors of the mock. No lab needed; real guests are in test_change_in_guests.py."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from .guests_play import HERE, UNREACHABLE, GuestsPlay
from .playbook_run import Run

ROOT = Path(__file__).resolve().parents[2]
ON = {"hv1": ("web01",), "hv2": ("db01", "files01", "off01")}


def words(done: Run) -> str:
    """What was said, whatever the width of the lines."""
    return " ".join(done.output.split())


def recap(done: Run, guest: str) -> tuple[int, int]:
    """How many tasks changed something for a guest, and how many failed."""
    line = next(line for line in done.output.split("PLAY RECAP")[1].splitlines() if line.startswith(guest))
    counts = dict(word.split("=") for word in line.split() if "=" in word)
    return int(counts["changed"]), int(counts["failed"]) + int(counts["unreachable"])


def test_a_change_that_passes_stays_and_one_whose_check_fails_is_undone(tmp_path: Path) -> None:
    play = GuestsPlay(tmp_path, {"web01": {}, "db01": {"check": "false"}, "files01": {"upgrade": "exit 7"}}, ON)
    done = play.change(keep="14d")
    assert done.status != 0
    assert [snapshot["name"] for snapshot in play.snapshots("web01")] == ["patch"]
    assert play.snapshots("db01") == play.snapshots("files01") == []
    assert (recap(done, "web01")[1], recap(done, "db01")[1], recap(done, "files01")[1]) == (0, 1, 1)
    undone = "The VM was reverted to the time before the change, and the guest answers again."
    assert f'The task \\"Check\\" failed: non-zero return code. {undone}' in words(done)
    assert f'The task \\"Upgrade\\" failed: non-zero return code. {undone}' in words(done)
    # One run of the module for each hypervisor, whatever the number of its guests.
    assert done.output.count("-> hv2] => (item=hv2)") == len(["locate", "take", "revert", "wait", "note", "remove"]), (
        done.output
    )
    again = play.change(keep="14d")
    assert play.log("web01") == ["upgraded", "restarted"], "a change that is done is not made again"
    assert play.log("db01") == ["upgraded", "restarted"] * 2
    assert recap(again, "web01")[1] == 0


def test_a_guest_that_does_not_answer_any_more_is_undone(tmp_path: Path) -> None:
    play = GuestsPlay(tmp_path, {"web01": {}, "db01": UNREACHABLE}, ON)
    done = play.change()
    assert (done.status != 0, play.snapshots("web01"), recap(done, "web01")[1]) == (True, [], 0)
    assert "The VM was reverted to the time before the change, and the guest does not answer." in words(done)
    # It stays open, for the next run: nobody has seen the guest well.
    assert [snapshot["name"] for snapshot in play.snapshots("db01")] == ["patch"]
    play.guests["db01"] = dict(HERE)
    once_more = play.change()
    assert (once_more.status, play.snapshots("db01")) == (0, []), once_more.output
    assert "db01: an earlier run was interrupted." in words(once_more)


def test_a_run_after_a_kill_goes_on_with_the_open_snapshot(tmp_path: Path) -> None:
    play = GuestsPlay(tmp_path, {"web01": {"upgrade": "sleep 30"}}, ON)
    play.kill_in_change("web01")
    (snapshot,) = play.snapshots("web01")
    play.guests["web01"] = {"check": "false"}
    done = play.change()
    assert f"goes on with its snapshot of {snapshot['created_at']}" in words(done)
    assert "ok: [web01 -> hv1] => (item=hv1)" not in done.output.split("Take the snapshots")[1].split("Make the")[0]
    assert (done.status != 0, play.snapshots("web01")) == (True, [])


def test_all_or_nothing_undoes_all_guests_of_the_play(tmp_path: Path) -> None:
    play = GuestsPlay(tmp_path, {"web01": {}, "db01": {"check": "false"}}, ON, {"all_or_nothing": True, "keep": "1d"})
    done = play.change()
    assert (play.snapshots("web01"), play.snapshots("db01"), recap(done, "web01")[1]) == ([], [], 1)
    assert "guarded_change_all_or_nothing is true, and the change failed on db01. The VM was reverted" in words(done)


def test_all_or_nothing_begins_nowhere_if_a_guest_cannot_begin(tmp_path: Path) -> None:
    play = GuestsPlay(tmp_path, {"web01": {}, "off01": {}}, ON, {"all_or_nothing": True})
    done = play.change()
    assert (play.log("web01"), play.log("off01"), play.snapshots("web01")) == ([], [], [])
    assert "off01 on hv2: The VM is shutoff. Start it first. Nothing was changed." in words(done)


def test_check_mode_says_the_plan_and_changes_nothing(tmp_path: Path) -> None:
    play = GuestsPlay(tmp_path, {"web01": {}, "off01": {}}, ON)
    before = [play.state(host).read_bytes() for host in ON]
    done = play.change("--check", keep="14d")
    assert [play.state(host).read_bytes() for host in ON] == before
    assert play.log("web01") == []
    plan = (
        "web01 on hv1: Take the snapshot patch, run change.yml and check.yml. If both pass, keep the snapshot for 14d"
    )
    assert plan in words(done)
    assert (recap(done, "web01")[1], recap(done, "off01")[1]) == (0, 1), "what the run refuses"


def test_a_snapshot_of_somebody_else_is_not_taken_for_the_role_s(tmp_path: Path) -> None:
    play = GuestsPlay(tmp_path, {"web01": {}}, ON)
    assert play.change(keep="1d", name="mine").status == 0
    state = play.state("hv1").read_text("utf-8")
    play.state("hv1").write_text(state.replace('"guarded_change"', '"other"'), "utf-8")
    done = play.change("--check", name="mine")
    assert "There is a snapshot mine which this role did not take." in words(done)
    assert play.log("web01") == ["upgraded", "restarted"]


def test_where_a_guest_is(tmp_path: Path) -> None:
    both = ("web01", "db01", "files01")
    play = GuestsPlay(tmp_path, {guest: {} for guest in (*both, "nosuch")}, {"hv1": both, "hv2": both})
    for host, vm in (("hv1", "web01"), ("hv1", "db01"), ("hv2", "db01")):
        play.set_power(host, vm, "shutoff")
    done = words(play.locate())
    assert "web01 is on hv2" in done
    assert "db01 is there and off on hv1 and hv2, so nobody knows which one is meant." in done
    assert re.search(r"files01 [(][0-9a-f-]{36}[)] runs on hv1 and hv2[.] If it is moving .* both may write", done), (
        done
    )
    assert "No hypervisor has a VM nosuch: hv1, hv2 answered." in done
    assert "is on hv1" not in done


def test_where_a_guest_is_while_a_hypervisor_does_not_answer(tmp_path: Path) -> None:
    on = {"hv1": ("web01", "off01"), "hv2": ("db01",)}
    play = GuestsPlay(
        tmp_path, {guest: {} for guest in ("web01", "off01", "db01")}, on, hypervisors={"hv2": UNREACHABLE}
    )
    done = words(play.locate())
    assert "web01 is on hv1" in done
    assert "off01 is unknown. It is off on hv1, and hv2 did not answer: it may run there." in done
    assert "db01 is unknown. No hypervisor that answered has such a VM, and hv2 did not answer." in done


@pytest.mark.parametrize("role", ["locate", "guarded_change"])
def test_the_specification_has_the_defaults_of_the_role(role: str) -> None:
    folder = ROOT / "roles" / role
    spec = yaml.safe_load((folder / "meta/argument_specs.yml").read_text("utf-8"))["argument_specs"]["main"]["options"]
    assert {name: option["default"] for name, option in spec.items() if not option.get("required")} == yaml.safe_load(
        (folder / "defaults/main.yml").read_text("utf-8")
    )


RUN_ONCE = """
- name: Migrate
  ansible.builtin.raw: "exit 7"
  run_once: true
"""


@pytest.mark.parametrize("together", [False, True])
def test_a_task_that_runs_once_and_fails_undoes_every_guest(tmp_path: Path, together: bool) -> None:
    """Ansible calls it failed on all guests, and leaves all but the first out of the batch."""
    play = GuestsPlay(tmp_path, {"web01": {}, "db01": {}, "files01": {}}, ON)
    (tmp_path / "change.yml").write_text((tmp_path / "change.yml").read_text() + RUN_ONCE)
    done = play.change(all_or_nothing=together)
    assert [play.snapshots(guest) for guest in play.guests] == [[], [], []], done.output
    assert done.output.count("The VM was reverted to the time before the change, and the guest answers again.") >= 3


def test_a_handler_that_cuts_the_connection_does_not_save_a_guest_from_the_revert(tmp_path: Path) -> None:
    play = GuestsPlay(tmp_path, {"web01": {}, "db01": {}}, ON)
    cut = """
- name: Cut
  ansible.builtin.set_fact: {ansible_connection: ssh, ansible_host: 127.0.0.1, ansible_port: 1}
  when: inventory_hostname == 'db01'
"""
    (tmp_path / "change.yml").write_text((tmp_path / "change.yml").read_text() + cut)
    done = play.change(all_or_nothing=True)
    assert done.status != 0
    assert "the guest left the play in its change. The VM was reverted to the time before the change." in words(done)
    assert play.snapshots("web01") == []
    assert [snapshot["name"] for snapshot in play.snapshots("db01")] == ["patch"]
    assert "the change failed on db01" in words(done)


@pytest.mark.parametrize("option", ["--check", "--diff"])
def test_a_file_that_cannot_be_read_ends_the_play_before_anything(tmp_path: Path, option: str) -> None:
    play = GuestsPlay(tmp_path, {"web01": {}}, ON)
    (tmp_path / "check.yml").write_text("- name: Check\n  ansible.builtin.rw: 'true'\n  when: [\n")
    before = play.state("hv1").read_text("utf-8")
    assert play.change(option).status != 0
    assert (play.state("hv1").read_text("utf-8"), play.log("web01")) == (before, [])


def test_what_comes_from_the_command_line_is_what_it_says(tmp_path: Path) -> None:
    """There all values are texts: "false" is not true, and 1 can be added to."""
    play = GuestsPlay(tmp_path, {"web01": {}, "db01": {"check": "false"}}, ON)
    done = play.change("-e", "guarded_change_all_or_nothing=false", "-e", "guarded_change_wait=1", keep="1d")
    assert (recap(done, "web01")[1], recap(done, "db01")[1]) == (0, 1), done.output
    assert [snapshot["name"] for snapshot in play.snapshots("web01")] == ["patch"]
    assert play.snapshots("db01") == []


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"name": 2026}, "guarded_change_name is 2026, which YAML reads as int and not as text. Put it in quotes."),
        ({"keep": 14}, "guarded_change_keep is 14, which is neither a time span nor a date"),
    ],
)
def test_a_wrong_value_is_refused_before_the_change(tmp_path: Path, variables: dict[str, int], says: str) -> None:
    play = GuestsPlay(tmp_path, {"web01": {}}, ON)
    for options in (["--check"], []):
        done = play.change(*options, **variables)
        assert (done.status != 0, says in words(done)) == (True, True), done.output
    assert (play.log("web01"), play.snapshots("web01")) == ([], [])


def test_errors_that_the_play_ignores_are_none_that_the_change_may_have(tmp_path: Path) -> None:
    play = GuestsPlay(tmp_path, {"web01": {"check": "false"}}, ON, ignore_errors=True)
    done = play.change()
    assert (done.status != 0, play.snapshots("web01")) == (True, []), done.output
    assert "The VM was reverted to the time before the change" in words(done)
