"""Run every gate, also after one has failed, and say at the end how each went. Each gate is a target of the Makefile.

The gates on files run three at a time (tests wait a lot), the cheapest first, and beside them the molecule scenarios, which start
the lab and wait even more. What is on the lab has it to itself: the tests of every backend come last.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

ROOT = Path(__file__).resolve().parents[2]
LOGS = ROOT / ".cache" / "log"

ON_FILES = (
    "ruff",
    "yamllint",
    "types",
    "changelog",
    "docs",
    "site",
    "ansible-lint",
    "importer",
    "integration-newest",
    "integration-oldest",
    "units-newest",
    "units-oldest",
    "sanity-newest",
    "sanity-oldest",
)

ON_LAB = ("system", "metal-brief")  # one after the other: the machine that is emulated has the processors to itself

TOO_LONG = 75 * 60  # seconds: a gate that hangs must not cost the table
PYTEST_SUMMARY = re.compile(r"^=+ (.*\d (?:passed|failed|skipped|errors?)\b.*) in [\d.]+s.*=+$", re.MULTILINE)
PYTEST_FAILED = re.compile(r"^(?:FAILED|ERROR) (tests/.*)$", re.MULTILINE)
# Of a gate that is none of pytest's: what Ansible, make and most tools say of a failure, with some of what follows.
FATAL = re.compile(r"^.*(?:\bfatal: |\bERROR\b|^error: |\bTraceback \().*(?:\n.*){0,4}", re.MULTILINE)
COLOURS = re.compile(r"\x1b\[[\d;]*m")
REMARK = re.compile(r"^(?:SKIPPED|NOTE): (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Result:
    gate: str
    status: str  # ok, skipped, FAILED
    seconds: float
    processor: float  # seconds, of what the gate started and waited for: not of the lab's hosts
    remarks: tuple[str, ...]
    tests: Counter[str]
    red: tuple[str, ...] = ()  # the tests that failed, with pytest's reason, or what the gate says of its failure

    def line(self) -> str:
        times = f"{self.seconds:>5.0f} s {self.processor:>6.0f} s"
        return f"{self.gate:<19}{self.status:<8}{times}  {'; '.join(self.remarks)}".rstrip()


def run(gate: str) -> Result:
    log = LOGS / f"{gate}.log"
    started = time.monotonic()
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            ["make", gate],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        hangs = threading.Timer(TOO_LONG, _end, (process, output))
        hangs.start()
        _pid, ended, used = os.wait4(process.pid, 0)
        hangs.cancel()
    text = log.read_text(encoding="utf-8", errors="replace")
    failed = process.returncode = os.waitstatus_to_exitcode(ended)
    status = "FAILED" if failed else "skipped" if re.search("^SKIPPED: ", text, re.MULTILINE) else "ok"
    seconds, red = time.monotonic() - started, causes(text) if failed else ()
    processor = used.ru_utime + used.ru_stime
    result = Result(gate, status, seconds, processor, tuple(REMARK.findall(text)), tests(text, status), red)
    shown = text if failed else ""
    print(shown + result.line(), flush=True)
    return result


def causes(text: str) -> tuple[str, ...]:
    """Return the tests that failed; of a gate that fails without one what it said last of a failure."""
    tests = PYTEST_FAILED.findall(text)
    return tuple(tests or FATAL.findall(COLOURS.sub("", text))[-3:])


def _end(process: subprocess.Popen[bytes], log: TextIO) -> None:
    os.killpg(process.pid, signal.SIGTERM)
    log.write(f"NOTE: ended after {TOO_LONG} s\n")


def tests(text: str, status: str) -> Counter[str]:
    """Return pytest's counts; a gate without pytest, or one that failed after it passed, counts as one test."""
    counts: Counter[str] = Counter()
    for summary in PYTEST_SUMMARY.findall(text):
        for number, outcome in re.findall(r"(\d+) (passed|failed|skipped|error)", summary):
            counts["failed" if outcome == "error" else outcome] += int(number)
    word = {"ok": "passed", "skipped": "skipped", "FAILED": "failed"}[status]
    if not counts or (status == "FAILED" and not counts["failed"]):
        counts[word] += 1
    return counts


def main() -> int:
    LOGS.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    subprocess.run(["make", "env"], cwd=ROOT, check=True)  # once, before several gates want it
    with ThreadPoolExecutor(max_workers=4) as at_once:
        results = list(at_once.map(run, ("molecule", *ON_FILES)))
    for gate in ON_LAB:
        results.append(run(gate))
        if os.environ.get("CI") == "true":  # elsewhere somebody may be using the lab
            subprocess.run(["make", "lab-down"], cwd=ROOT, check=False)

    print(f"\n{'gate':<27}{'clock':>7}{'processor':>11}")
    print("\n".join(result.line() for result in results))
    print(f"\n{time.monotonic() - started:.0f} s, logs in {LOGS.relative_to(ROOT)}")
    # Again at the very end: of a long log often only the last lines are kept.
    for result in results:
        for test in result.red:
            print(f"{result.gate}: {test}")
    total = sum((result.tests for result in results), Counter[str]())
    print(f"{total['passed']} passed, {total['failed']} failed, {total['skipped']} skipped")
    return int(any(result.status == "FAILED" for result in results))


if __name__ == "__main__":
    sys.exit(main())
