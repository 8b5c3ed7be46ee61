# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a repository's host reads: the form for bugs, the workflow, the hooks. They run what the Makefile runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
MAKEFILE = ROOT / "Makefile"


def read(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text("utf-8"))


def targets() -> set[str]:
    return set(re.findall(r"^([a-z][\w-]*):", MAKEFILE.read_text("utf-8"), re.MULTILINE))


def test_the_form_for_bugs_asks_for_what_is_needed() -> None:
    fields = {field["id"]: field for field in read(".github/ISSUE_TEMPLATE/bug.yml")["body"] if "id" in field}
    for name in ("error_code", "details", "versions"):
        assert fields[name]["validations"]["required"] is True
    asked = str(fields["versions"]["attributes"])
    assert [
        word for word in ("limiquantix.kvm", "ansible-core", "libvirt", "QEMU", "qx-node") if word not in asked
    ] == []


def test_the_workflow_runs_every_gate_and_lets_the_lab_be_missing() -> None:
    assert "make test\n" in (ROOT / ".ci/run").read_text("utf-8")
    steps = read(".github/workflows/test.yml")["jobs"]["test"]["steps"]
    gates = next(step for step in steps if "make test" in step.get("run", ""))
    assert gates["env"]["CI"] == ""
    summary = next(step for step in steps if "GITHUB_STEP_SUMMARY" in step.get("run", ""))
    assert (summary["if"], "Not run: " in summary["run"]) == ("always()", True)


def test_every_hook_is_a_gate_with_the_gate_s_own_version() -> None:
    (repository,) = read(".pre-commit-config.yaml")["repos"]
    assert repository["repo"] == "local"
    for hook in repository["hooks"]:
        command, target = hook["entry"].split()
        assert (command, hook["language"]) == ("make", "system")
        assert target in targets()
        assert "additional_dependencies" not in hook


@pytest.mark.parametrize("name", ["SECURITY.md", "CODE_OF_CONDUCT.md"])
def test_what_everybody_may_ask_for_is_in_the_artifact(name: str) -> None:
    assert (ROOT / name).is_file()
    assert name not in read("galaxy.yml")["build_ignore"]
