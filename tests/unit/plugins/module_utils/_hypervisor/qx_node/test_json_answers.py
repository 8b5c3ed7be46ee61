# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What qx-node's answers tell and what they do not."""

from __future__ import annotations

from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils._hypervisor.qx_node.bad_agent import (
    BadAgent,
)
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils._hypervisor.qx_node.modules import (
    Run,
    agent,
    only,
    run,
)

__all__ = ("agent", "run")


def test_nothing_is_invented(agent: BadAgent, run: Run) -> None:
    run(agent, vm="web01", name="s", description="kept by nobody")
    (vm,) = run(agent, "vm_snapshot_info")["vms"]
    (snapshot,) = vm["snapshots"]
    assert snapshot.pop("name") == "s"
    assert set(snapshot.values()) == {None}
    assert vm["memory"] == {"can_be_saved": None, "blockers": None, "bytes": None}
    assert (vm["state"], vm["guest_agent"], vm["persistent"], vm["problems"], vm["chains"]) == (
        "running",
        None,
        None,
        None,
        [],
    )


def test_what_newer_agents_tell_is_used(agent: BadAgent, run: Run) -> None:
    agent.vms[0]["guestAgent"] = {"connected": True}
    agent.snapshots = [
        {"snapshotId": "2", "name": "below", "description": "", "parentId": "1"},
        {"snapshotId": "1", "name": "above", "description": "told", "parentId": None},
    ]
    (vm,) = run(agent, "vm_snapshot_info")["vms"]
    assert [(one["name"], one["parent"], one["description"]) for one in vm["snapshots"]] == [
        ("above", None, "told"),
        ("below", "above", None),
    ]
    assert vm["guest_agent"] is True
    entry = only(run(agent, vm="web01", name="s"))
    assert agent.bodies[-1]["quiesce"] is True
    assert entry["quiesced"] is None
    assert "does not tell whether it did" in entry["msg"]
