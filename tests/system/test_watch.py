# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook watch: on mock hypervisors, one of them slow, and on each hypervisor of the lab with a slow merge."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from lab.api import Host, reset_vm
from lab.paths import INVENTORY

from .guest import wait_for, write
from .planted import Planted, planted
from .playbook_run import Run, run

__all__ = ("planted",)

FIXTURE = Path(__file__).resolve().parents[1] / "fixtures/mock/fleet.json"
QUICK = ("-e", "watch_interval=1", "-e", "watch_timeout=120")
LINE = r"slow: web01: Removing snapshot s1, \d+ % of a layer, about \d+ (?:s|min) left"


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    """Two mocks with nothing to do."""
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "snapshot_backend": "mock"}
    hosts: dict[str, Any] = {name: {"snapshot_mock_path": str(tmp_path / f"{name}.json")} for name in ("slow", "idle")}
    for name in hosts:
        shutil.copy(FIXTURE, tmp_path / f"{name}.json")
    path = tmp_path / "inventory.yml"
    path.write_text(json.dumps({"hypervisors": {"hosts": hosts, "vars": local}}))
    return path


def watch(inventory: Path, *variables: str) -> Run:
    words = [word for variable in variables for word in ("-e", variable)]
    return run(["ansible-playbook", "limiquantix.kvm.watch", *QUICK, *words], inventory)


@contextmanager
def started(command: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Do something in the background, as somebody else does whose run is watched."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.wait(120)


def on_mock(inventory: Path, call: str) -> list[str]:
    """Return a command that does a piece of work on the slow mock in one process, which can be killed."""
    where = {"backend": "mock", "mock_path": str(inventory.with_name("slow.json"))}
    code = f"from contract.driver import remove, snapshot; w, v, n = {where!r}, ['web01'], {{}}; {call}"
    return [sys.executable, "-c", f"import sys; sys.path[:0] = {sys.path!r}; {code}"]


def slow_down(state: Path) -> None:
    """Let each change of web01 take a while from now on."""
    fleet = json.loads(state.read_text())
    next(vm for vm in fleet["vms"] if vm["name"] == "web01")["slow_seconds"] = 200
    state.write_text(json.dumps(fleet))


def begun(state: Path) -> bool:
    return any(vm.get("operation") for vm in json.loads(state.read_text())["vms"])


def flat(done: Run) -> str:
    return " ".join(done.output.split())


def test_a_merge_is_told_with_percent_and_time_left_until_it_ends(inventory: Path) -> None:
    state = inventory.with_name("slow.json")
    subprocess.run(on_mock(inventory, "snapshot(w, v, False, n, name='s1')"), check=True, timeout=300)
    slow_down(state)
    removal_of = on_mock(inventory, "remove(w, v, False, {'timeout': 600}, name='s1')")
    words = ["ansible-playbook", "-i", str(inventory), "limiquantix.kvm.watch", *QUICK]
    seen = inventory.with_name("seen")
    with started(removal_of) as removal:
        wait_for("the merge", lambda: begun(state), 30)
        early = watch(inventory, "watch_timeout=1")
        with seen.open("wb") as output, subprocess.Popen(words, stdout=output, stderr=output) as whole:
            wait_for("the time left", lambda: bool(re.search(LINE, seen.read_text())), 100)
            removal.kill()
            status = whole.wait(60)
    assert (early.status != 0, "Still at work: slow: web01." in flat(early)) == (True, True), early.output
    assert status == 0, seen.read_text()
    assert "Nothing is at work any more. Interrupted, and finished or undone by the next run" in seen.read_text()


def test_a_host_that_does_not_answer_is_unknown_and_no_success(inventory: Path) -> None:
    hosts = json.loads(inventory.read_text())
    away = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
    hosts["hypervisors"]["hosts"]["away"] = away
    inventory.write_text(json.dumps(hosts))
    done = watch(inventory, "snapshot_vms=web01,wbe01")
    assert done.status != 0
    assert "away: unknown. " in flat(done)
    assert "wbe01: unknown. No host that answered has such a VM." in flat(done)
    assert "Nothing is at work on the hosts that answered. Unknown: 2, see above." in flat(done)


def test_a_moment_between_two_merges_is_not_the_end(inventory: Path) -> None:
    """A first look at which nothing is at work is followed by a second, and that finds the next merge."""
    state = inventory.with_name("slow.json")
    subprocess.run(on_mock(inventory, "snapshot(w, v, False, n, name='s1')"), check=True, timeout=300)
    slow_down(state)
    done = inventory.with_name("first")
    words = ["ansible-playbook", "-i", str(inventory), "limiquantix.kvm.watch", *QUICK, "-e", "watch_interval=8"]
    with done.open("wb") as output, subprocess.Popen(words, stdout=output, stderr=output) as whole:
        wait_for("the first look", lambda: "TASK [Wait]" in done.read_text(), 60)
        with started(on_mock(inventory, "remove(w, v, False, {'timeout': 600}, name='s1')")) as removal:
            wait_for("the merge", lambda: begun(state), 30)
            wait_for("its line", lambda: "slow: web01: Removing snapshot s1" in done.read_text(), 60)
            removal.kill()
            assert whole.wait(120) == 0, done.read_text()


def test_a_glob_that_matches_nothing_is_no_success(inventory: Path) -> None:
    done = watch(inventory, "snapshot_vms=wbe*")
    assert (done.status != 0, "No VM that is meant was found." in flat(done)) == (True, True), done.output


@pytest.mark.parametrize(
    ("variable", "says"),
    [
        ("watch_intervall=5", "watch_intervall is not a variable of this playbook. Did you mean watch_interval?"),
        ("snapshot_vm=web01", "Did you mean snapshot_vms?"),
        ("watch_timeout=1h", "are whole numbers of seconds above 0. No host was asked."),
        ("watch_interval=0", "are whole numbers of seconds above 0. No host was asked."),
    ],
)
def test_a_slip_is_refused_before_any_host_is_asked(inventory: Path, variable: str, says: str) -> None:
    done = run(["ansible-playbook", "limiquantix.kvm.watch", "-e", variable], inventory)
    assert (done.status != 0, says in flat(done), "Ask every host" in done.output) == (True, True, False), done.output


def test_a_real_merge_is_watched_to_its_end(planted: Planted) -> None:
    host: Host = planted.host
    reset_vm(host, "files01")
    assert planted.snapshot("", "files01", "s1", quiesce="never")["vms"][0]["error_code"] is None
    write(host, "files01", 0, 5, "24M")
    words = ["-e", f"snapshot_hosts={host.name}", "-e", "snapshot_vms=files01", *QUICK]
    task = json.dumps({"vm": "files01", "name": "s1", "state": "absent", "bandwidth": 1})
    with started(["ansible", host.name, "-i", str(INVENTORY), "-m", "limiquantix.kvm.vm_snapshot", "-a", task]):
        wait_for("the merge", lambda: bool(planted.info("files01")["operation"]), 60)
        done = run(["ansible-playbook", "limiquantix.kvm.watch", *words])
    assert done.status == 0, done.output
    assert re.search(rf"{host.name}: files01: Removing snapshot s1, \d+ % of a layer, ", flat(done)), done.output
    assert "Nothing is at work any more." in done.output
    assert planted.info("files01")["snapshots"] == []
