# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A schedule does not die in silence: what is full, damaged, hung or switched off shows, and the job runs where it can."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from ansible_collections.limiquantix.kvm.tests.unit.scheduled_job import (
    SNAPSHOT,
    program,
    root,
    run,
    status,
    until_there,
    words,
)

__all__ = ("program", "root")


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
