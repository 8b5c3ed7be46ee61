# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The build of the role qx_node alone, for hosts that nobody connects to."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any, Callable

import pytest

from .agent_role import FIXTURES, words
from .playbook_run import Run, run

TRIPLE = "x86_64-unknown-linux-gnu"
needs_cargo = pytest.mark.skipif(
    not shutil.which("cargo") and os.environ.get("CI") != "true",
    reason="there is no cargo; install Debian's package cargo",
)
Build = Callable[..., Run]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Build only, for three hosts that nobody connects to."""
    hosts: dict[str, dict[str, Any]] = {f"hv-{number}": {"ansible_host": "192.0.2.1"} for number in (1, 2, 3)}
    inventory = tmp_path / "inventory.yml"

    def build(tree: Path = FIXTURES, *more: str, serial: int = 3, of_the_third: str = "", **inputs: Any) -> Run:
        hosts["hv-3"]["qx_node_target"] = of_the_third
        inventory.write_text(json.dumps({"all": {"hosts": hosts, "vars": inputs.pop("inventory", {})}}))
        environment = {"CARGO_TARGET_DIR": str(tmp_path / "target"), **inputs.pop("environment", {})}
        inputs = {"qx_node_source": str(tree), "qx_node_build_environment": environment, **inputs}
        inputs = {"qx_node_build_dir": str(tmp_path / "built"), **inputs}
        return run([*words("all", tmp_path, "build", [("serial", serial)], **inputs), *more], inventory)

    return build


def refused(done: Run, *texts: str) -> None:
    """One message, and no host touched."""
    assert done.status != 0, done.output
    assert done.output.count("FAILED!") == 1, done.output
    for text in (*texts, "No host was changed"):
        assert text in done.output, done.output
