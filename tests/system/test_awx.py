# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""As AWX runs it: every playbook under ansible-runner with the answers that its survey suggests, on a mock.

The execution environment's definition is read by ansible-builder. No lab and no container needed.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
AWX = ROOT / "extensions/awx"
TEMPLATES = {
    Path(one["playbook"]).stem: one
    for one in yaml.safe_load((AWX / "job_templates.yml").read_text("utf-8"))["controller_templates"]
}
# In this order each finds something to do, and which leave the snapshot. The node agent is rolled out by the tests of its role.
RUNS = {"snapshot": 1, "report": 1, "watch": 1, "revert": 1, "prune": 1, "remove": 0}
RUNS.update(snapshot_group=1, revert_group=1, remove_group=0)
ANSWERS = {"snapshot_name": "s1", "snapshot_vms": "web01", "snapshot_confirm": "yes"}


@pytest.fixture
def private(tmp_path: Path) -> Path:
    """What ansible-runner is given: the project, an inventory with a mock, and nothing else."""
    shutil.copytree(AWX / "templates/project", tmp_path / "project")
    shutil.copy(ROOT / "tests/fixtures/mock/fleet.json", tmp_path / "mock.json")
    host = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "snapshot_mock_path": str(tmp_path / "mock.json"),
    }
    (tmp_path / "inventory").mkdir()
    (tmp_path / "inventory/hosts.yml").write_text(json.dumps({"hypervisors": {"hosts": {"mock": host}}}))
    return tmp_path


def answered(playbook: str) -> dict[str, Any]:
    """Return what a survey gives when everything is left as suggested, and what must be answered is; all on the mock."""
    spec = TEMPLATES[playbook]["survey_spec"]["spec"]
    answers = {one["variable"]: one.get("default", "") for one in spec}
    needed = {name: value for name, value in ANSWERS.items() if name in answers}
    return {**answers, **needed, "snapshot_backend": "mock"}


def snapshots(private: Path) -> list[str]:
    (web01,) = (vm for vm in json.loads((private / "mock.json").read_text())["vms"] if vm["name"] == "web01")
    return [one["name"] for one in web01["snapshots"]]


def write_answers(private: Path, playbook: str) -> None:
    (private / "env").mkdir(exist_ok=True)
    (private / "env/extravars").write_text(json.dumps(answered(playbook)))


def test_every_playbook_runs_with_the_answers_that_its_survey_suggests(private: Path) -> None:
    assert {*RUNS, "deploy_agent"} == set(TEMPLATES)
    for playbook, taken in RUNS.items():
        write_answers(private, playbook)
        command = ["ansible-runner", "run", str(private), "-p", f"{playbook}.yml"]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        assert snapshots(private) == ["s1"] * taken
    assert (private / "project/fleet.html").is_file()


def test_the_roll_out_of_the_node_agent_runs_too_as_far_as_no_host_is_touched(private: Path) -> None:
    """That a release is deployed is what the tests of the role prove."""
    (private / "env").mkdir()
    answers = {"qx_node_hosts": "hypervisors", "qx_node_serial": "1", "qx_node_binary": "/bin/true"}
    (private / "env/extravars").write_text(json.dumps(answers))
    command = ["ansible-runner", "run", str(private), "-p", "deploy_agent.yml", "--cmdline", "--tags build"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Look at the binary" in done.stdout
    assert "Compare the host with what is wanted" not in done.stdout


def test_playbooks_are_transmitted_worked_at_elsewhere_and_processed(private: Path, tmp_path: Path) -> None:
    assert "web01: snapshot 's1' taken" in elsewhere(private, tmp_path / "taken", "snapshot")
    assert snapshots(private) == ["s1"]
    assert "web01: snapshot 's1' removed" in elsewhere(private, tmp_path / "removed", "remove")
    assert snapshots(private) == []


def elsewhere(private: Path, folder: Path, playbook: str) -> str:
    """Run a playbook as a controller does that has it worked at by another machine; return what that one said."""
    write_answers(private, playbook)
    for name in ("worker", "result"):
        (folder / name).mkdir(parents=True)
    pipe = (
        f"ansible-runner transmit {private} -p {playbook}.yml"
        f" | ansible-runner worker --private-data-dir {folder}/worker"
        f" | ansible-runner process {folder}/result"
    )
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", pipe], check=False, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_execution_environment_can_be_built_and_its_dependencies_are_found(tmp_path: Path) -> None:
    definition = AWX / "execution-environment.yml"
    context = tmp_path / "context"
    create = ["ansible-builder", "create", "-f", str(definition), "-c", str(context)]
    done = subprocess.run(create, check=False, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "limiquantix.kvm" in (context / "_build/requirements.yml").read_text()

    installed = tmp_path / "ansible_collections/limiquantix/kvm"
    installed.parent.mkdir(parents=True)
    installed.symlink_to(ROOT)
    introspect = ["ansible-builder", "introspect", str(tmp_path)]
    done = subprocess.run(introspect, check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = yaml.safe_load(done.stdout)
    assert {line.split()[0] for line in found["system"]} == {"openssh-clients", "openssh-client"}
    assert not found["python"]
