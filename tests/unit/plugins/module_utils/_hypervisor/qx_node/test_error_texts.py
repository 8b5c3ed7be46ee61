# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""qx-node's own refusals, told as this collection's errors."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils._hypervisor.qx_node.bad_agent import (
    BadAgent,
)
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils._hypervisor.qx_node.modules import (
    INVTSC,
    Run,
    agent,
    only,
    run,
)

__all__ = ("agent", "run")


@pytest.mark.parametrize(
    ("wish", "text", "error_code", "says"),
    [
        ({"include_memory": True}, INVTSC, "memory_blocked", "TSC frequency"),
        ({}, INVTSC, "agent_outdated", "deploy"),
        ({}, "error: guest agent is not connected", "agent_unavailable", "qemu-guest-agent"),
        ({}, "error: failed to get domain 'x'", "vm_not_found", "web01"),
        ({}, "error: domain snapshot s already exists", "busy", "Somebody else took"),
        ({}, "error: no space left on device", "agent_error", "no space left"),
    ],
)
def test_the_agents_refusals(
    agent: BadAgent, run: Run, *, wish: dict[str, Any], text: str, error_code: str, says: str
) -> None:
    agent.refusals = [(500, text)]
    result = run(agent, vm="web01", name="s", **wish)
    entry = only(result)
    assert (result["changed"], entry["error_code"], entry["details"]["agent_message"]) == (False, error_code, text)
    assert says in entry["msg"]
    assert text in entry["msg"]
    assert agent.count("POST") == 1


def test_a_vm_that_goes_away(agent: BadAgent, run: Run) -> None:
    agent.break_on("GET", (500, "error: failed to get domain"), skip=1)
    assert run(agent, vm="web01", name="s")["error_code"] == "vm_not_found"
    assert agent.count("POST") == 0
