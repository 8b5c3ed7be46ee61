# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules, run over an agent of a test, good or bad."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible.module_utils import basic

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.qx_node import lost_answers as _doubt
from ansible_collections.limiquantix.kvm.plugins.modules import vm_snapshot, vm_snapshot_info, vm_snapshot_prune
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils._hypervisor.qx_node.bad_agent import (
    TOKEN,
    BadAgent,
)

MODULES = {
    "vm_snapshot": vm_snapshot,
    "vm_snapshot_info": vm_snapshot_info,
    "vm_snapshot_prune": vm_snapshot_prune,
}

INVTSC = "error: cannot migrate domain: State blocked by non-migratable CPU device (invtsc flag)"

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def agent() -> Iterator[BadAgent]:
    """A good agent, until a test makes it a bad one."""
    found = BadAgent()
    yield found
    found.stop()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a module over an agent, with a token that is never to be seen again."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(_doubt, "_PAUSE", 0.05)
    monkeypatch.setattr(_doubt, "LOOK_SECONDS", 1.0)

    def run(agent: BadAgent, module: str = "vm_snapshot", check: bool = False, **wish: Any) -> dict[str, Any]:
        given = {"backend": "qx_node", "url": agent.url, "token": TOKEN, "http_timeout": 1, "timeout": 4, **wish}
        wish = {
            "_ansible_check_mode": check,
            "_ansible_remote_tmp": str(tmp_path),
            **{key: value for key, value in given.items() if value is not None},
        }
        monkeypatch.setattr(basic, "_ANSIBLE_ARGS", json.dumps({"ANSIBLE_MODULE_ARGS": wish}).encode())
        monkeypatch.setattr(basic, "_ANSIBLE_PROFILE", "legacy", raising=False)
        with pytest.raises(SystemExit):
            MODULES[module].main()
        said = capsys.readouterr()
        assert TOKEN not in said.out + said.err
        assert "Traceback" not in said.out + said.err
        result: dict[str, Any] = json.loads(said.out.strip().splitlines()[-1])
        return {"failed": False, **result}

    return run


def only(result: dict[str, Any]) -> dict[str, Any]:
    (entry,) = result["vms"]
    found: dict[str, Any] = entry
    return found
