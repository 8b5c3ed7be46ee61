# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that runs a job of the role schedule: never twice at once, a failure shows, and it says when it last worked."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

from ansible_collections.limiquantix.kvm.tests.unit.scheduled_job import (
    HOSTS,
    PRUNE,
    SNAPSHOT,
    root,
    run,
    status,
    until_there,
    words,
)

__all__ = ("root",)


def test_a_job_runs_its_playbooks_with_their_variables(root: Path) -> None:
    assert run(root, "nightly")[0] == 0
    colour, playbook, *options = (root / f"called.{SNAPSHOT}").read_text().splitlines()
    assert (colour, playbook) == ("green", SNAPSHOT)
    assert options[:-1] == ["--inventory", "/a.yml", "--inventory", "/b.yml", "--limit", "site1", "--extra-vars"]
    variables = json.loads(options[-1])
    assert re.fullmatch(r"nightly-\d{8}", variables.pop("snapshot_name"))
    assert variables == {"snapshot_vms": "web*"}
    assert json.loads((root / f"called.{PRUNE}").read_text().splitlines()[-1]) == {"snapshot_keep_last": 7}


def test_it_says_when_it_last_worked(root: Path) -> None:
    assert run(root, "--status") == (0, "nightly: not run yet\n")
    run(root, "nightly")
    worked = status(root)["last_success"]
    assert run(root, "--status") == (0, f"nightly: last worked at {worked}\n")
    (root / f"status.{SNAPSHOT}").write_text("2")
    assert run(root, "nightly")[0] == 2
    assert (status(root)["last_success"], status(root)["result"]) == (worked, "failed")
    code, said = run(root, "--status", "nightly")
    assert (code, said.startswith(f"nightly: last worked at {worked}. The run of ")) == (1, True)
    assert said.endswith("failed: snapshot\n")


def test_a_step_that_fails_does_not_keep_the_next_from_running(root: Path) -> None:
    (root / f"status.{SNAPSHOT}").write_text("4")
    code, said = run(root, "nightly")
    assert (code, status(root)["failed"]) == (4, ["snapshot"])
    assert (root / f"called.{PRUNE}").exists()
    assert "has never worked" in said


def test_a_second_start_while_one_runs_starts_nothing(root: Path) -> None:
    (root / "wait").touch()
    with subprocess.Popen(words(root, "nightly"), stdout=subprocess.PIPE, text=True) as first:
        until_there(root / "waiting")
        (root / f"called.{SNAPSHOT}").unlink()
        code, said = run(root, "nightly")
        assert (code, "is running already" in said) == (75, True)
        assert not (root / f"called.{SNAPSHOT}").exists()
        assert ", running since " in run(root, "--status")[1]
        (root / "wait").unlink()
        assert first.wait(20) == 0
    assert status(root)["result"] == "ok"
    assert run(root, "nightly")[0] == 0


def test_a_run_whose_program_was_killed_goes_on_alone_and_is_told_as_interrupted(root: Path) -> None:
    """The playbook has the lock too: while it works, no second one starts."""
    (root / "wait").touch()
    with subprocess.Popen(words(root, "nightly"), stdout=subprocess.DEVNULL) as first:
        until_there(root / "waiting")
        os.kill(first.pid, signal.SIGKILL)
        first.wait(20)
    assert run(root, "nightly")[0] == 75
    (root / "wait").unlink()
    end = time.monotonic() + 20
    while ", running since" in run(root, "--status")[1]:
        assert time.monotonic() < end
    code, said = run(root, "--status")
    assert (code, "was interrupted" in said) == (1, True)
    assert run(root, "nightly")[0] == 0


def test_a_group_without_a_host_is_no_run_that_worked(root: Path) -> None:
    (root / "hosts").write_text(HOSTS.format(0))
    code, said = run(root, "nightly")
    assert (code, status(root)["failed"]) == (1, ["snapshot", "prune"])
    assert "the play has no host" in said
    assert "has never worked" in said
    assert not (root / f"called.{SNAPSHOT}").exists()


def test_hosts_that_cannot_be_listed_are_told_by_the_run_itself(root: Path) -> None:
    (root / "hosts").unlink()
    (root / f"status.{SNAPSHOT}").write_text("4")
    assert run(root, "nightly")[0] == 4
    assert (root / f"called.{SNAPSHOT}").exists()


def test_a_program_that_is_not_there_fails_with_what_to_do(root: Path) -> None:
    (root / "ansible-playbook").unlink()
    code, said = run(root, "nightly")
    assert (code, "Correct schedule_ansible_playbook" in said) == (127, True)
    assert status(root)["result"] == "failed"


def test_a_job_that_is_not_there_is_named_with_those_that_are(root: Path) -> None:
    code, said = run(root, "weekly")
    assert (code, said) == (1, "There is no job weekly. There are: nightly.\n")
    assert run(root)[0] == 2
