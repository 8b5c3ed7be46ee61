# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a job that the role limiquantix.kvm.schedule wrote down, or say when each last worked.

Never the same job twice at once: the kernel lets go of the lock with its holder, however that ends. All steps are run, also
after one that failed: a host that takes no snapshot must not keep the others from being pruned.

Nor does a full disk keep a job from running. What could not be written down shows all the same: the time of the lock's file is
when a run began last, and setting it needs no room.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Optional

# An inventory that is gone or broken, or a group or limit without hosts, is no run that worked.
_STRICT = {"ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true", "ANSIBLE_HOST_PATTERN_MISMATCH": "error"}
BUSY = 75  # EX_TEMPFAIL of sysexits.h
NOT_NOTED = 74  # EX_IOERR
NO_PROGRAM = 127
LOST = "lost"  # the result where what was known of the runs cannot be read
NO_HOSTS = 1  # as Ansible's own, of a limit that leaves no host
_UNIT = "limiquantix-kvm-schedule@{}.timer"
_LOCALE = ("LC_ALL", "LC_CTYPE", "LANG")  # the first that is set counts
_LONG = 24 * 3600  # seconds: a run that takes longer may hang
_SOON = 5  # seconds between the time of the lock and what is written down of the same run


class Schedule:
    """The jobs below a directory: / where the role has put them, anything else in a test."""

    def __init__(self, root: Path) -> None:
        self.jobs = root / "etc/limiquantix-kvm-schedule"
        self.state = root / "var/lib/limiquantix-kvm-schedule"
        self.has_timers = root == Path("/")

    def names(self) -> list[str]:
        """Return the names of all jobs."""
        return sorted(file.stem for file in self.jobs.glob("*.json"))

    def job(self, name: str) -> dict[str, Any]:
        """Return a job. Raises `SystemExit` where there is none, and `ValueError` where it cannot be read."""
        file = self.jobs / f"{name}.json"
        try:
            job: dict[str, Any] = json.loads(file.read_text("utf-8"))
        except FileNotFoundError:
            raise SystemExit(f"There is no job {name}. There are: {', '.join(self.names()) or 'none'}.") from None
        except (OSError, ValueError) as error:
            raise ValueError(f"{file} cannot be read: {error}. Run the role limiquantix.kvm.schedule again.") from None
        return job

    def status(self, name: str) -> dict[str, Any]:
        """Return what is known of its runs; nothing before the first."""
        try:
            status = json.loads((self.state / f"{name}.json").read_text("utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError):
            status = None
        # Such as an empty file after a power cut: no reason to run no more.
        return status if isinstance(status, dict) else {"result": LOST, LOST: True}

    def note(self, name: str, **known: Any) -> bool:
        """Write down what is known of its runs, whole or not at all; False where that cannot be done."""
        status = {**self.status(name), **known}
        new = self.state / f".{name}.new"
        try:
            with suppress(FileNotFoundError):
                new.unlink()  # left by a run that was killed, maybe as another user
            with new.open("w", encoding="utf-8") as file:
                file.write(json.dumps(status, indent=2) + "\n")
                file.flush()
                os.fsync(file.fileno())
            new.replace(self.state / f"{name}.json")
        except OSError as error:
            say(f"{name}: how it goes cannot be written to {self.state}: {error.strerror}. Make room there.")
            return False
        return True

    @contextmanager
    def lock(self, name: str) -> Iterator[Optional[int]]:
        """Hold the job's lock; None where another run does. Its file may be another user's: whoever can read it can lock it."""
        file = os.open(self.state / f".{name}.lock", os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            yield file if any(_locked(file, fcntl.LOCK_EX) for _once in range(5)) else None
        finally:
            os.close(file)

    def begun(self, name: str) -> Optional[datetime]:
        """Return when a run began last, whether it could write that down or not."""
        try:
            return datetime.fromtimestamp((self.state / f".{name}.lock").stat().st_mtime, timezone.utc)
        except OSError:
            return None

    def is_running(self, name: str) -> bool:
        """Whether somebody holds the job's lock; for everybody who may read."""
        try:
            with (self.state / f".{name}.lock").open() as file:
                return not _locked(file.fileno(), fcntl.LOCK_SH)
        except OSError:
            return False


def _locked(file: int, how: int) -> bool:
    """Lock it at once or not at all. Who only looks has it for a moment, so a run tries more than once."""
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        time.sleep(0.1 if how == fcntl.LOCK_EX else 0)
        return False
    return True


def say(text: str) -> None:
    """Print a line at once; where nobody can hear it, such as in a file on a full disk, the job goes on."""
    with suppress(OSError):
        print(text, flush=True)


def now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def locale_of(environment: dict[str, str]) -> dict[str, str]:
    """Return what makes the locale UTF-8, without which Ansible does not start; cron and systemd may give none, or another."""
    given = {**os.environ, **environment}
    told = next((given[key] for key in _LOCALE if given.get(key)), "")
    is_right = told.lower().replace("-", "").endswith("utf8")
    return {} if is_right or any(key in environment for key in _LOCALE) else {"LC_ALL": "C.UTF-8"}


def command(job: dict[str, Any], step: dict[str, Any]) -> list[str]:
    """Return the command of a step: the name of its snapshot has the time in it, in UTC."""
    variables = dict(step["vars"])
    if "name" in step:
        variables["snapshot_name"] = datetime.now(timezone.utc).strftime(step["name"])
    words = [job["ansible_playbook"], f"limiquantix.kvm.{step['playbook']}"]
    words += [word for file in job["inventory"] for word in ("--inventory", file)]
    words += ["--limit", job["limit"]] if job["limit"] else []
    return [*words, "--extra-vars", json.dumps(variables)]


def run_step(words: Sequence[str], environment: dict[str, str], lock: int) -> int:
    """Return the status of a step. It has the lock too: where this process is killed, it ends when the step does."""
    say(" ".join(["+", *words]))
    whole = {**os.environ, **_STRICT, **locale_of(environment), **environment}
    try:
        if _is_for_nobody(words, whole, lock):
            say("The inventory is there, but the play has no host in it: its group is empty. Nothing was done.")
            return NO_HOSTS
        done = subprocess.run(words, check=False, stdin=subprocess.DEVNULL, env=whole, pass_fds=[lock])
    except OSError as error:
        say(f"{words[0]} cannot be started: {error.strerror}. Correct schedule_ansible_playbook.")
        return NO_PROGRAM
    return done.returncode if done.returncode >= 0 else 128 - done.returncode


def _is_for_nobody(words: Sequence[str], environment: dict[str, str], lock: int) -> bool:
    """Whether Ansible finds no host for the play. It would do nothing, and end with status 0.

    ANSIBLE_HOST_PATTERN_MISMATCH knows a group that is not there, not one that is empty (ansible-core 2.21).
    Where Ansible cannot list the hosts, the run itself says why.
    """
    asked = subprocess.run(
        [*words, "--list-hosts"],
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        env=environment,
        pass_fds=[lock],
    )
    return asked.returncode == 0 and re.search(r"^ +hosts \(0\):", asked.stdout, re.MULTILINE) is not None


def run(schedule: Schedule, name: str) -> int:
    """Run all steps of a job; the status is the first that is not 0."""
    if name not in schedule.names():
        schedule.job(name)  # says which there are
    try:
        with schedule.lock(name) as lock:
            if lock is None:
                say(f"{name} is running already, since {_since(schedule, name)}. Nothing was started.")
                return BUSY
            with suppress(OSError):
                os.utime(lock)
            return _run(schedule, name, lock)
    except OSError as error:  # without a lock it might run twice at once
        say(f"{name} cannot be locked in {schedule.state}: {error.strerror}. Nothing was started.")
        return NOT_NOTED


def _run(schedule: Schedule, name: str, lock: int) -> int:
    started = now()
    schedule.note(name, result="running", started=started, ended=None, failed=[])
    try:
        job = schedule.job(name)
    except ValueError as error:
        say(str(error))
        schedule.note(name, result="failed", started=started, ended=now(), failed=["job"])
        return 1
    statuses = {step["playbook"]: run_step(command(job, step), job["environment"], lock) for step in job["steps"]}
    failed = [playbook for playbook, status in statuses.items() if status != 0]
    ended = now()
    done = {"result": "failed"} if failed else {"result": "ok", "last_success": ended, LOST: False}
    noted = schedule.note(name, started=started, ended=ended, failed=failed, **done)
    say(_told(schedule, name, running=False)[0])
    return next((status for status in statuses.values() if status), 0 if noted else NOT_NOTED)


def _since(schedule: Schedule, name: str) -> str:
    begun = schedule.begun(name)
    return begun.isoformat(timespec="seconds") if begun else "a time that is not known"


def _unnoted(schedule: Schedule, name: str, started: Optional[str]) -> bool:
    """Whether a run began later than the last one that is written down."""
    begun = schedule.begun(name)
    if begun is None:
        return False
    return started is None or begun.timestamp() > datetime.fromisoformat(started).timestamp() + _SOON


def _told(schedule: Schedule, name: str, running: bool) -> tuple[str, bool]:
    """Return a line, when it last worked and what is wrong where something is, and whether something is."""
    status = schedule.status(name)
    worked = f"last worked at {status['last_success']}" if status.get("last_success") else "has never worked"
    worked = f"nobody knows when it last worked, {name}.json could not be read" if status.get(LOST) else worked
    started = status.get("started")
    if running:
        begun = schedule.begun(name)
        hangs = begun is not None and time.time() - begun.timestamp() > _LONG
        long = ", which is more than a day. Look whether it hangs" if hangs else ""
        return f"{name}: {worked}, running since {_since(schedule, name)}{long}", hangs
    if status.get("result") == LOST:
        return f"{name}: {worked}", True
    if _unnoted(schedule, name, started):
        return f"{name}: {worked}. The run of {_since(schedule, name)} could not write down how it went", True
    if not status:
        return f"{name}: not run yet", False
    if status["result"] == "running":
        return f"{name}: {worked}. The run of {started} was interrupted", True
    if status["result"] == "failed":
        return f"{name}: {worked}. The run of {started} failed: {', '.join(status['failed'])}", True
    return f"{name}: {worked}", False


def _timer_is_off(name: str) -> bool:
    """Whether systemd knows the job's timer and will not start it; False where nobody can tell."""
    systemctl = shutil.which("systemctl")
    if systemctl is None:
        return False
    words = [systemctl, "is-active", _UNIT.format(name)]
    asked = subprocess.run(words, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    return asked.stdout.strip() in ("inactive", "failed")


def tell(schedule: Schedule, names: Sequence[str]) -> int:
    """Print a line for each; the status is 0 only where the last run of each worked, or none was due yet, and more will come."""
    wrong = False
    for name in names or schedule.names():
        line, is_wrong = _told(schedule, name, schedule.is_running(name))
        try:
            schedule.job(name)
        except ValueError as error:
            line, is_wrong = f"{line}. {error}", True
        if schedule.has_timers and _timer_is_off(name):
            line, is_wrong = f"{line}. Nothing starts it: systemctl enable --now {_UNIT.format(name)}", True
        print(line)
        wrong = wrong or is_wrong
    return int(wrong)


def main(arguments: Optional[Sequence[str]] = None) -> int:
    parser = argparse.ArgumentParser(description="Run a scheduled job, or say when each last worked.")
    parser.add_argument("name", nargs="*", help="the job; with --status none means all")
    parser.add_argument("--status", action="store_true", help="a line for each job: when did it last work?")
    parser.add_argument("--root", type=Path, default=Path("/"), help="the directory with etc and var")
    given = parser.parse_args(arguments)
    schedule = Schedule(given.root)
    if given.status:
        return tell(schedule, given.name)
    if len(given.name) != 1:
        parser.error("name one job, or give --status")
    return run(schedule, given.name[0])


if __name__ == "__main__":
    sys.exit(main())
