# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that runs a job of the role schedule: never twice at once, a failure shows, and it says when it last worked."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

PROGRAM = Path(__file__).resolve().parents[2] / "roles/schedule/files/schedule_run.py"
# In place of ansible-playbook: notes how it was called, and ends as a file of the playbook's name says.
FAKE = """#!/bin/sh
cd "$(dirname "$0")"
printf '%s\\n' "$COLOUR" "$@" > "called.$1"
while [ -e wait ]; do touch waiting; sleep 0.05; done
[ ! -e "status.$1" ] || exit "$(cat "status.$1")"
"""
SNAPSHOT, PRUNE = "limiquantix.kvm.snapshot", "limiquantix.kvm.prune"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The directories as the role makes them, with a job of two steps."""
    jobs, state = tmp_path / "etc/limiquantix-kvm-schedule", tmp_path / "var/lib/limiquantix-kvm-schedule"
    for folder in (jobs, state):
        folder.mkdir(parents=True)
    fake = tmp_path / "ansible-playbook"
    fake.write_text(FAKE)
    fake.chmod(0o755)
    job = {
        "ansible_playbook": str(fake),
        "environment": {"COLOUR": "green"},
        "inventory": ["/a.yml", "/b.yml"],
        "limit": "site1",
        "steps": [
            {"playbook": "snapshot", "name": "nightly-%Y%m%d", "vars": {"snapshot_vms": "web*"}},
            {"playbook": "prune", "vars": {"snapshot_keep_last": 7}},
        ],
    }
    (jobs / "nightly.json").write_text(json.dumps(job))
    return tmp_path


def words(root: Path, *arguments: str) -> list[str]:
    return [sys.executable, str(PROGRAM), "--root", str(root), *arguments]


def run(root: Path, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(words(root, *arguments), check=False, capture_output=True, text=True, timeout=30)
    return done.returncode, done.stdout + done.stderr


def status(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((root / "var/lib/limiquantix-kvm-schedule/nightly.json").read_text())
    return found


def until_there(file: Path) -> None:
    end = time.monotonic() + 20
    while not file.exists():
        assert time.monotonic() < end, f"{file} does not appear"
        time.sleep(0.02)


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


def test_a_program_that_is_not_there_fails_with_what_to_do(root: Path) -> None:
    (root / "ansible-playbook").unlink()
    code, said = run(root, "nightly")
    assert (code, "Correct schedule_ansible_playbook" in said) == (127, True)
    assert status(root)["result"] == "failed"


def test_a_job_that_is_not_there_is_named_with_those_that_are(root: Path) -> None:
    code, said = run(root, "weekly")
    assert (code, said) == (1, "There is no job weekly. There are: nightly.\n")
    assert run(root)[0] == 2


def fill_disk(root: Path) -> Path:
    """Let nothing be written down any more; root may write anywhere, so a directory is in the way of the file."""
    way = root / "var/lib/limiquantix-kvm-schedule/.nightly.new"
    way.mkdir()
    return way


def long_ago(root: Path) -> None:
    """Let the last run that was written down have been yesterday's."""
    known = status(root)
    (root / "var/lib/limiquantix-kvm-schedule/nightly.json").write_text(
        json.dumps({**known, "started": "2026-11-26T02:30:00+00:00"})
    )


def test_a_full_disk_keeps_no_job_from_running_and_shows(root: Path) -> None:
    run(root, "nightly")
    long_ago(root)
    (root / f"called.{SNAPSHOT}").unlink()
    way = fill_disk(root)
    code, said = run(root, "nightly")
    assert (code, "cannot be written" in said, "Make room there." in said) == (74, True, True)
    assert (root / f"called.{SNAPSHOT}").exists()
    code, said = run(root, "--status")
    assert (code, "could not write down how it went" in said) == (1, True)
    way.rmdir()
    assert run(root, "nightly")[0] == 0
    assert run(root, "--status")[0] == 0


def test_the_first_run_of_all_shows_on_a_full_disk_too(root: Path) -> None:
    fill_disk(root)
    (root / f"status.{SNAPSHOT}").write_text("3")
    assert run(root, "nightly")[0] == 3
    code, said = run(root, "--status")
    assert (code, "has never worked" in said, "could not write down how it went" in said) == (1, True, True)


@pytest.mark.parametrize("left", ["", "{", "[]", '"x"'])
def test_what_a_power_cut_left_of_the_status_keeps_no_job_from_running(root: Path, left: str) -> None:
    run(root, "nightly")
    file = root / "var/lib/limiquantix-kvm-schedule/nightly.json"
    file.write_text(left)
    code, said = run(root, "--status")
    assert (code, "nobody knows when it last worked" in said, "never" in said) == (1, True, False)
    (root / f"status.{SNAPSHOT}").write_text("2")
    assert run(root, "nightly")[0] == 2
    assert "nobody knows when it last worked" in run(root, "--status")[1]
    (root / f"status.{SNAPSHOT}").unlink()
    assert run(root, "nightly")[0] == 0
    assert run(root, "--status") == (0, f"nightly: last worked at {status(root)['last_success']}\n")


def test_a_job_that_cannot_be_read_fails_and_hides_no_other(root: Path) -> None:
    jobs = root / "etc/limiquantix-kvm-schedule"
    (jobs / "broken.json").write_text("{")
    run(root, "nightly")
    code, said = run(root, "broken")
    assert (code, "broken.json cannot be read" in said, "Traceback" in said) == (1, True, False)
    code, said = run(root, "--status")
    assert code == 1
    assert "broken: has never worked. The run of " in said
    assert "nightly: last worked at " in said


def test_a_lock_that_cannot_be_had_starts_nothing(root: Path) -> None:
    (root / "var/lib/limiquantix-kvm-schedule").rmdir()
    code, said = run(root, "nightly")
    assert (code, "cannot be locked" in said, "Nothing was started." in said) == (74, True, True)
    assert not (root / f"called.{SNAPSHOT}").exists()


def test_a_run_of_more_than_a_day_shows(root: Path) -> None:
    (root / "wait").touch()
    with subprocess.Popen(words(root, "nightly"), stdout=subprocess.DEVNULL) as first:
        until_there(root / "waiting")
        assert run(root, "--status")[0] == 0
        lock = root / "var/lib/limiquantix-kvm-schedule/.nightly.lock"
        os.utime(lock, (time.time() - 90000, time.time() - 90000))
        code, said = run(root, "--status")
        assert (code, "which is more than a day. Look whether it hangs" in said) == (1, True)
        (root / "wait").unlink()
        assert first.wait(20) == 0


@pytest.fixture
def program() -> ModuleType:
    spec = importlib.util.spec_from_file_location("schedule_run", PROGRAM)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_lock_of_somebody_else_is_one_too(root: Path, program: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever ran the job by hand first, as root, must not keep the user of the schedule from running it ever again."""
    (root / "var/lib/limiquantix-kvm-schedule/.nightly.lock").touch()
    opened, ways = os.open, []
    monkeypatch.setattr(program.os, "open", lambda file, how, *mode: (ways.append(how), opened(file, how, *mode))[1])
    with program.Schedule(root).lock("nightly") as lock:
        assert lock is not None
        assert run(root, "nightly")[0] == 75
    assert [way & os.O_ACCMODE for way in ways] == [os.O_RDONLY]


@pytest.mark.parametrize(
    ("state", "wrong"), [("active\n", 0), ("inactive\n", 1), ("failed\n", 1), ("", 0), ("unknown\n", 0)]
)
def test_a_timer_that_starts_nothing_any_more_shows(
    root: Path,
    program: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *,
    state: str,
    wrong: int,
) -> None:
    run(root, "nightly")
    schedule = program.Schedule(root)
    schedule.has_timers = True
    monkeypatch.setattr(program.shutil, "which", lambda _name: "/bin/systemctl")
    monkeypatch.setattr(program.subprocess, "run", lambda *_words, **_how: SimpleNamespace(stdout=state))
    assert program.tell(schedule, []) == wrong
    hint = "systemctl enable --now limiquantix-kvm-schedule@nightly.timer"
    assert (hint in capsys.readouterr().out) is bool(wrong)


@pytest.mark.parametrize(
    ("outside", "job", "added"),
    [
        ({}, {}, {"LC_ALL": "C.UTF-8"}),
        ({"LANG": "de_DE.UTF-8"}, {}, {}),
        ({"LANG": "de_DE.utf8"}, {}, {}),
        ({"LC_ALL": "C", "LANG": "de_DE.UTF-8"}, {}, {"LC_ALL": "C.UTF-8"}),
        ({"LANG": "de_DE.ISO-8859-1"}, {}, {"LC_ALL": "C.UTF-8"}),
        ({"LC_ALL": "", "LANG": "C.UTF-8"}, {}, {}),
        ({}, {"LANG": "de_DE.UTF-8"}, {}),
        ({}, {"LC_ALL": "C"}, {}),
    ],
)
def test_playbooks_have_a_locale_with_which_ansible_starts(
    program: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    outside: dict[str, str],
    job: dict[str, str],
    added: dict[str, str],
) -> None:
    for key in ("LC_ALL", "LC_CTYPE", "LANG"):
        monkeypatch.delenv(key, raising=False)
    for key, value in outside.items():
        monkeypatch.setenv(key, value)
    assert program.locale_of(job) == added
