# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking through qx-node: memory and freeze are claimed only where they are known."""

from __future__ import annotations

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


def test_memory_is_not_claimed_where_nobody_knows(agent: BadAgent, run: Run) -> None:
    agent.break_on("POST", "cut")
    result = run(agent, vm="web01", name="s", include_memory=True)
    assert (result["error_code"], result["changed"], agent.count("POST")) == ("outcome_unknown", True, 1)
    # What would show it, and what the next run makes of it.
    assert "virsh snapshot-dumpxml" in result["msg"]
    assert "remove 's' first" in result["msg"]
    assert "vm_snapshot_info" not in result["msg"]
    agent.fault = None
    again = only(run(agent, vm="web01", name="s", include_memory=True))
    assert (again["changed"], again["failed"], again["disk_only"]) == (False, False, None)
    assert again["msg"] == "snapshot 's' already exists; qx-node does not tell whether it holds the memory"


def test_memory_and_freeze_are_left_out_where_the_task_allows_it(agent: BadAgent, run: Run) -> None:
    agent.vms[0]["guestAgent"] = True
    agent.refusals = [(500, INVTSC), (500, "error: guest agent is not connected")]
    entry = only(run(agent, vm="web01", name="s", include_memory=True, on_memory_blocked="disk_only"))
    assert [(body["includeMemory"], body["quiesce"]) for body in agent.bodies] == [
        (True, False),
        (False, True),
        (False, False),
    ]
    assert (entry["changed"], entry["disk_only"], entry["quiesced"]) == (True, True, False)
    assert "memory left out" in entry["notes"][0]
    assert "not quiesced" in entry["notes"][1]


def test_it_is_said_to_be_taken_and_is_not_there(agent: BadAgent, run: Run) -> None:
    agent.forgets = True
    assert run(agent, vm="web01", name="s")["error_code"] == "verification_failed"
    assert agent.count("POST") == 1
