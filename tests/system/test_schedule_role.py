# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role schedule below a directory of its own: no timer is installed on the machine that runs this."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from .playbook_run import Run, run

ROOT = Path(__file__).resolve().parents[2]
ROLE = ROOT / "roles" / "schedule"
FIXTURE = ROOT / "tests/fixtures/mock/fleet.json"
UNITS = "etc/systemd/system"
POLICY: list[dict[str, Any]] = [
    {
        "name": "nightly",
        "inventory": "/hosts.yml",
        "when": "*-*-* 02:30:00",
        "snapshot": "nightly-%Y%m%dT%H%M%SZ",
        "vms": "web01",
        "prune": {"keep_last": 7},
    },
    {"name": "weekly", "inventory": ["/hosts.yml"], "when": "Sun 04:00", "jitter": "1h", "prune": {"orphans": True}},
]


class Controller:
    """A directory that the role fills, and a policy."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.root = folder, folder / "root"
        self.root.mkdir()
        (self.root / "hosts.yml").write_text("{}")
        play = {
            "hosts": "localhost",
            "connection": "local",
            "gather_facts": False,
            "roles": ["limiquantix.kvm.schedule"],
        }
        (folder / "play.yml").write_text(json.dumps([play]))

    def apply(self, policy: list[dict[str, Any]], *options: str, **variables: Any) -> Run:
        (self.folder / "policy.yml").write_text(json.dumps(policy))
        inputs = {"schedule_policy_file": str(self.folder / "policy.yml"), "schedule_root": str(self.root), **variables}
        words = ["ansible-playbook", "-i", "localhost,", "play.yml", "-e", json.dumps(inputs), *options]
        return run(words, folder=self.folder)

    def nightly(self) -> subprocess.CompletedProcess[str]:
        """Run the job of that name, as its timer would."""
        program = str(self.root / "usr/local/bin/limiquantix-kvm-schedule")
        words = [program, "--root", str(self.root), "nightly"]
        return subprocess.run(words, check=False, capture_output=True, text=True)

    def files(self) -> dict[str, str]:
        """Return all files and what is in them, below the directory."""
        found = sorted(path for path in self.root.rglob("*") if path.is_file())
        return {str(path.relative_to(self.root)): path.read_text("utf-8") for path in found}


@pytest.fixture
def controller(tmp_path: Path) -> Controller:
    return Controller(tmp_path)


def changed(done: Run) -> int:
    assert done.status == 0, done.output
    return int(re.findall(r"changed=(\d+)", done.output)[0])


def test_check_mode_foretells_a_schedule_and_a_second_run_changes_nothing(controller: Controller) -> None:
    before = controller.files()
    told = controller.apply(POLICY, "--check", "--diff")
    assert controller.files() == before
    assert "+OnCalendar=*-*-* 02:30:00" in told.output
    assert changed(told) == changed(controller.apply(POLICY)) > 0
    assert [changed(controller.apply(POLICY, *options)) for options in ((), ("--check",))] == [0, 0]
    weekly = controller.files()[f"{UNITS}/limiquantix-kvm-schedule@weekly.timer"]
    assert re.findall(r"^(?:OnC|P|R).*", weekly, re.MULTILINE) == [
        "OnCalendar=Sun 04:00",
        "Persistent=true",
        "RandomizedDelaySec=1h",
    ]


def test_an_entry_that_is_gone_is_removed_and_absent_leaves_nothing(controller: Controller) -> None:
    before = controller.files()
    controller.apply(POLICY)
    assert changed(controller.apply(POLICY[:1])) == 1
    assert [name for name in controller.files() if "weekly" in name] == []
    assert changed(controller.apply(POLICY, "--check", schedule_state="absent")) > 0
    assert len(controller.files()) > len(before)
    assert changed(controller.apply(POLICY, schedule_state="absent")) > 0
    assert controller.files() == before
    assert changed(controller.apply(POLICY, schedule_state="absent")) == 0


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"prune": {"keep_lats": 7}}, "prune.keep_lats is not known. Did you mean prune.keep_last?"),
        ({"vars": {"snapshot_memroy": True}}, "vars.snapshot_memroy is not known. Did you mean vars.snapshot_memory?"),
        ({"inventory": "/nowhere.yml"}, "does not have the inventory /nowhere.yml"),
        ({"when": "at noon"}, "systemd does not know the time at noon"),
        ({"jitter": "some"}, "systemd does not know the time some"),
    ],
)
def test_a_policy_that_is_wrong_is_refused_before_anything(
    controller: Controller, entry: dict[str, Any], said: str
) -> None:
    if said.startswith("systemd") and not shutil.which("systemd-analyze"):
        pytest.skip("this machine does not have systemd-analyze")
    before = controller.files()
    done = controller.apply([{**POLICY[0], **entry}])
    assert (done.status != 0, said in " ".join(done.output.split())) == (True, True), done.output
    assert controller.files() == before


def test_the_units_are_valid_for_systemd(controller: Controller) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("this machine does not have systemd-analyze")
    controller.apply(POLICY)
    units = controller.root / UNITS
    service = units / "limiquantix-kvm-schedule@.service"
    program = controller.root / "usr/local/bin/limiquantix-kvm-schedule"
    service.write_text(service.read_text("utf-8").replace("/usr/local/bin/limiquantix-kvm-schedule", str(program)))
    done = subprocess.run(
        ["systemd-analyze", "verify", *map(str, units.glob("*"))],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{units}:"},
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_job_takes_and_prunes_with_the_real_playbooks(controller: Controller) -> None:
    state = controller.folder / "fleet.json"
    shutil.copy(FIXTURE, state)
    variables = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "snapshot_backend": "mock",
        "snapshot_mock_path": str(state),
    }
    hosts = controller.root / "hosts.yml"
    hosts.write_text(json.dumps({"hypervisors": {"hosts": {"mock-1": variables}}}))
    entry = {**POLICY[0], "prune": {"keep_last": 1, "older_than": "0d"}}
    controller.apply([entry])
    job = controller.root / "etc/limiquantix-kvm-schedule/nightly.json"
    job.write_text(job.read_text("utf-8").replace('"/hosts.yml"', json.dumps(str(hosts))))
    for _night in range(2):
        done = controller.nightly()
        assert done.returncode == 0, done.stdout + done.stderr
    vm = next(vm for vm in json.loads(state.read_text("utf-8"))["vms"] if vm["name"] == "web01")
    assert [bool(re.fullmatch(r"nightly-\d{8}T\d{6}Z", one["name"])) for one in vm["snapshots"]] == [True]
    hosts.write_text(json.dumps({"hypervisors": {}}))
    done = controller.nightly()
    assert (done.returncode, "the play has no host in it" in done.stdout) == (1, True), done.stdout + done.stderr


def test_defaults_of_the_role_are_as_documented() -> None:
    options = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text("utf-8"))["argument_specs"]["main"]["options"]
    defaults = yaml.safe_load((ROLE / "defaults/main.yml").read_text("utf-8"))
    assert {name: option["default"] for name, option in options.items()} == defaults
    listed = re.findall(r"^\| `(schedule_\w+)`", (ROLE / "README.md").read_text("utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(defaults)
