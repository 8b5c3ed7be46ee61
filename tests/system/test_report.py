# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook that writes the report, whatever became of its hosts."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from .playbook_run import Run, run
from .report_fleet import SCRIPT
from .report_page import page, screen, small

__all__ = ("page", "screen", "small")

ROOT = Path(__file__).resolve().parents[2]

FIXTURE = ROOT / "tests/fixtures/mock/fleet.json"


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    """A host that does not answer, a mock with trouble, one with a VM whose record is newer, and one that is fine."""
    state = json.loads(FIXTURE.read_text())
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "snapshot_backend": "mock"}
    hosts: dict[str, Any] = {"away": {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}}
    for name in ("bad", "good", "nothing"):
        hosts[name] = {"snapshot_mock_path": str(tmp_path / f"{name}.state.json")}
    state["vms"][0]["operation"] = {"kind": "take", "snapshot": "s1", "started_at": "2026-11-23T13:05:42+00:00"}
    state["vms"][1]["name"] = SCRIPT
    state["directories"]["/var/lib/libvirt/images"]["free"] = 1
    (tmp_path / "bad.state.json").write_text(json.dumps(state))
    shutil.copy(FIXTURE, tmp_path / "good.state.json")
    path = tmp_path / "inventory.yml"
    path.write_text(json.dumps({"hypervisors": {"hosts": hosts, "vars": local}}))
    return path


def report(inventory: Path, *words: str) -> Run:
    return run(["ansible-playbook", "limiquantix.kvm.report", *words], inventory, inventory.parent)


def flat(done: Run) -> str:
    return " ".join(done.output.split())


def test_the_playbook_tells_of_every_host_whatever_became_of_it(inventory: Path) -> None:
    states = {path: path.read_text() for path in inventory.parent.glob("*.state.json")}
    done = report(inventory, "-e", "report_dest=fleet.html")
    assert done.status == 0, done.output
    page, told = inventory.with_name("fleet.html"), json.loads(inventory.with_name("fleet.json").read_text())
    assert {host["host"]: (host["known"], len(host["vms"])) for host in told["hosts"]} == {
        "away": (False, 0), "bad": (True, 5), "good": (True, 5), "nothing": (False, 0)
    }  # fmt: skip
    assert [(one["kind"], one["host"], one["vm"]) for one in told["findings"] if one["word"] == "act"] == [
        ("unknown", "away", None),
        ("room", "bad", None),
        ("interrupted", "bad", "web01"),
        ("unknown", "nothing", None),
    ]
    assert f"{page}: 4 things need a hand" in flat(done)
    assert {path: path.read_text() for path in states} == states
    assert (page.read_text().count("<script"), SCRIPT in page.read_text()) == (2, False)
    assert page.stat().st_mode & 0o777 == 0o640


def test_in_check_mode_nothing_is_written(inventory: Path) -> None:
    done = report(inventory, "--check")
    assert (done.status, list(inventory.parent.glob("fleet*"))) == (0, []), done.output


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["-e", "report_dest=no/such/fleet.html"], "There is no directory "),
        (["-e", "report_dest=fleet.txt"], "must end in .html"),
        (["-e", "report_dest=taken.html"], "taken.html is a directory. Name a file in it."),
        (["-e", "report_dst=fleet.html"], "report_dst is not a variable of this playbook. Did you mean report_dest?"),
    ],
)
def test_what_cannot_be_is_refused_before_any_host_is_asked(inventory: Path, words: list[str], says: str) -> None:
    inventory.with_name("taken.html").mkdir()
    done = report(inventory, *words)
    assert (done.status != 0, says in flat(done), "Ask every host" in done.output) == (True, True, False), done.output


def test_a_page_whose_parts_cannot_be_read_is_refused_before_any_host_is_asked(inventory: Path, tmp_path: Path) -> None:
    """As where somebody has installed half of the collection."""
    half = tmp_path / "ansible_collections/limiquantix/kvm"
    half.parent.mkdir(parents=True)
    shutil.copytree(ROOT, half, ignore=shutil.ignore_patterns(".*", "tests", "dev", "docs", "page.css"))
    done = run(["ansible-playbook", str(half / "playbooks/report.yml")], inventory, tmp_path)
    assert (done.status != 0, "Ask every host" in done.output) == (True, False)
    assert "page.css, which cannot be read. Install the collection again." in flat(done)
