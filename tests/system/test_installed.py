# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a stranger has who installed the artifact: an empty folder, ansible-core, and the guide. No checkout on a path, no lab."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from walk.artifact import build_artifact

from .guide_blocks import ROOT, blocks

GUIDE = "guide_first_steps"
_HERE = f"{Path(__file__).name}::"


class Stranger:
    """Who works in a home of their own, with the ansible-core of PyPI and nothing else of this machine's environment."""

    def __init__(self, home: Path) -> None:
        self.home = home
        python = Path(sys.executable).parent
        self._environment = {"HOME": str(home), "PATH": f"{python}:/usr/bin:/bin", "LANG": "C.UTF-8"}

    def run(self, command: str, status: int = 0) -> str:
        """Run a line of shell, and return all that was to be seen."""
        done = subprocess.run(
            ["sh", "-ec", command],
            check=False,
            cwd=self.home,
            env={**self._environment, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_INVENTORY": "mock.yml"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
        )
        assert done.returncode == status, done.stdout
        return done.stdout

    def module(self, name: str, arguments: str, status: int = 0) -> Any:
        """Run a module on the file that stands for a hypervisor, and return its result."""
        words = f"backend=mock mock_path={self.home}/mock.json {arguments}"
        said = self.run(f"ansible hypervisors -m limiquantix.kvm.{name} -a '{words}' -o", status)
        return json.loads(said[said.index("=> ") + 3 :])


@pytest.fixture
def stranger(tmp_path: Path) -> Stranger:
    """One who has just installed the artifact."""
    home = tmp_path / "home"
    home.mkdir()
    made = Stranger(home)
    folder = tmp_path / "installed"
    folder.mkdir()
    made.run(f"ansible-galaxy collection install {build_artifact(folder)}")
    return made


def written_down(stranger: Stranger) -> str:
    """Write each file that the guide shows here where the guide says, and return the commands."""
    json_file, inventory, play, commands = (block for block in blocks(GUIDE) if block.what.startswith(_HERE))
    for name, block in (("mock.json", json_file), ("mock.yml", inventory), ("rehearsal.yml", play)):
        (stranger.home / name).write_text(block.text, "utf-8")
    return commands.text


def snapshots(stranger: Stranger) -> dict[str, list[str]]:
    vms = json.loads((stranger.home / "mock.json").read_text("utf-8"))["vms"]
    return {vm["name"]: [one["name"] for one in vm["snapshots"]] for vm in vms}


def test_the_artifact_alone_takes_reverts_and_prunes_without_a_hypervisor(stranger: Stranger) -> None:
    """And where something fails, the remedy is carried out as it stands in the message."""
    said = stranger.run(written_down(stranger))
    assert snapshots(stranger) == {"web01": ["tuesday"], "db01": ["tuesday"]}
    assert "+reverted to: monday" in said, said
    assert str(ROOT / "plugins") not in said

    denied = stranger.module("vm_snapshot", "vm=web01 name=mondya state=reverted", status=2)
    assert denied["error_code"] == "snapshot_not_found"
    remedy = re.search(r"Give one of its snapshots: (\w+)\.", denied["msg"])
    assert remedy, denied
    assert stranger.module("vm_snapshot", f"vm=web01 name={remedy[1]} state=reverted")["changed"]
