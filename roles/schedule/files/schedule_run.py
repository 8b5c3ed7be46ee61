# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a job that the role limiquantix.kvm.schedule wrote down, or say when each last worked.

Never the same job twice at once: the kernel lets go of the lock with its holder, however that ends. All steps are run, also
after one that failed: a host that takes no snapshot must not keep the others from being pruned.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Optional

# An inventory that is gone or broken, or a group or limit without hosts, is no run that worked.
_STRICT = {"ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true", "ANSIBLE_HOST_PATTERN_MISMATCH": "error"}
BUSY = 75  # EX_TEMPFAIL of sysexits.h
NO_PROGRAM = 127


class Schedule:
    """The jobs below a directory: / where the role has put them, anything else in a test."""

    def __init__(self, root: Path) -> None:
        self.jobs = root / "etc/limiquantix-kvm-schedule"
        self.state = root / "var/lib/limiquantix-kvm-schedule"

    def names(self) -> list[str]:
        """Return the names of all jobs."""
        return sorted(file.stem for file in self.jobs.glob("*.json"))

    def job(self, name: str) -> dict[str, Any]:
        """Return a job. Raises `SystemExit` where there is none."""
        try:
            job: dict[str, Any] = json.loads((self.jobs / f"{name}.json").read_text("utf-8"))
        except FileNotFoundError:
            raise SystemExit(f"There is no job {name}. There are: {', '.join(self.names()) or 'none'}.") from None
        return job

    def status(self, name: str) -> dict[str, Any]:
        """Return what is known of its runs; nothing before the first."""
        try:
            status: dict[str, Any] = json.loads((self.state / f"{name}.json").read_text("utf-8"))
        except FileNotFoundError:
            status = {}
        return status

    def note(self, name: str, **known: Any) -> None:
        """Write down what is known of its runs, whole or not at all."""
        status = {**self.status(name), **known}
        new = self.state / f".{name}.new"
        new.write_text(json.dumps(status, indent=2) + "\n", "utf-8")
        new.replace(self.state / f"{name}.json")

    @contextmanager
    def lock(self, name: str) -> Iterator[Optional[int]]:
        """Hold the job's lock; None where another run does."""
        with (self.state / f".{name}.lock").open("a") as file:
            yield file.fileno() if any(_locked(file.fileno(), fcntl.LOCK_EX) for _once in range(5)) else None

    def is_running(self, name: str) -> bool:
        """Whether somebody holds the job's lock; for everybody who may read."""
        try:
            with (self.state / f".{name}.lock").open() as file:
                return not _locked(file.fileno(), fcntl.LOCK_SH)
        except FileNotFoundError:
            return False


def _locked(file: int, how: int) -> bool:
    """Lock it at once or not at all. Who only looks has it for a moment, so a run tries more than once."""
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        time.sleep(0.1 if how == fcntl.LOCK_EX else 0)
        return False
    return True


def now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


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
    print("+", *words, flush=True)
    try:
        done = subprocess.run(
            words, check=False, stdin=subprocess.DEVNULL, env={**os.environ, **_STRICT, **environment}, pass_fds=[lock]
        )
    except OSError as error:
        print(f"{words[0]} cannot be started: {error.strerror}. Correct schedule_ansible_playbook.", flush=True)
        return NO_PROGRAM
    return done.returncode if done.returncode >= 0 else 128 - done.returncode


def run(schedule: Schedule, name: str) -> int:
    """Run all steps of a job; the status is the first that is not 0."""
    job = schedule.job(name)
    with schedule.lock(name) as lock:
        if lock is None:
            print(f"{name} is running already, since {schedule.status(name).get('started')}. Nothing was started.")
            return BUSY
        schedule.note(name, result="running", started=now(), ended=None, failed=[])
        statuses = {step["playbook"]: run_step(command(job, step), job["environment"], lock) for step in job["steps"]}
        failed = [playbook for playbook, status in statuses.items() if status != 0]
        ended = now()
        done = {"result": "failed"} if failed else {"result": "ok", "last_success": ended}
        schedule.note(name, ended=ended, failed=failed, **done)
        print(said(schedule, name, running=False), flush=True)
        return next((status for status in statuses.values() if status), 0)


def said(schedule: Schedule, name: str, running: bool) -> str:
    """Return a line: when it last worked, and what is wrong where something is."""
    status = schedule.status(name)
    worked = f"last worked at {status['last_success']}" if status.get("last_success") else "has never worked"
    if not status:
        return f"{name}: not run yet"
    if running:
        return f"{name}: {worked}, running since {status['started']}"
    if status["result"] == "running":
        return f"{name}: {worked}. The run of {status['started']} was interrupted"
    if status["result"] == "failed":
        return f"{name}: {worked}. The run of {status['started']} failed: {', '.join(status['failed'])}"
    return f"{name}: {worked}"


def tell(schedule: Schedule, names: Sequence[str]) -> int:
    """Print a line for each; the status is 0 only where the last run of each worked, or none was due yet."""
    wrong = False
    for name in names or schedule.names():
        schedule.job(name)
        running, result = schedule.is_running(name), schedule.status(name).get("result")
        print(said(schedule, name, running))
        wrong = wrong or result == "failed" or (result == "running" and not running)
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
