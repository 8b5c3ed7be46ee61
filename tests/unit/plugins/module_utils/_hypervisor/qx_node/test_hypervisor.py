# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""qx-node as a backend: what is taken, looked at and removed through it, and that nothing is invented."""

from __future__ import annotations

from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils._hypervisor.qx_node.bad_agent import (
    TOKEN,
    WEB01,
    BadAgent,
)
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils._hypervisor.qx_node.modules import (
    Run,
    agent,
    only,
    run,
)

__all__ = ("agent", "run")


def test_take_again_revert_and_remove(agent: BadAgent, run: Run) -> None:
    for check, changed in ((True, True), (False, True), (True, False), (False, False)):
        result = run(agent, vm="web*", name="s", check=check)
        assert (result["changed"], result["disk_only"]) == (changed, True)
    assert agent.bodies == [{"name": "s", "quiesce": False, "includeMemory": False}]
    assert {headers["Authorization"] for headers in agent.headers} == {f"Bearer {TOKEN}"}
    checked = run(agent, vm=WEB01, name="s", state="reverted", check=True)
    real = run(agent, vm=WEB01, name="s", state="reverted")
    assert checked["diff"] == real["diff"]
    assert (only(checked)["power"], only(real)["power"]) == (None, "running")
    for check, changed in ((True, True), (False, True), (True, False), (False, False)):
        assert run(agent, vm="web01", name="s", state="absent", check=check)["changed"] is changed
    assert [one for one in agent.requests if one[0] != "GET"] == [
        ("POST", f"/api/v1/vms/{WEB01}/snapshots"),
        ("POST", f"/api/v1/vms/{WEB01}/snapshots/id-s/revert"),
        ("DELETE", f"/api/v1/vms/{WEB01}/snapshots/id-s"),
    ]


def test_nothing_is_asked_needlessly(agent: BadAgent, run: Run) -> None:
    snapshots = f"/api/v1/vms/{WEB01}/snapshots"
    looks = [("GET", "/api/v1/vms"), ("GET", snapshots)]
    run(agent, vm="web01", name="s")
    assert agent.requests == [*looks, ("POST", snapshots), ("GET", snapshots)]
    agent.requests.clear()
    run(agent, vm="web01", name="s")
    assert agent.requests == looks


def test_a_vm_that_is_off_is_left_alone(agent: BadAgent, run: Run) -> None:
    agent.vms[0]["state"] = "STOPPED"
    for check in (True, False):
        entry = only(run(agent, vm="web01", name="s", running_only=True, check=check))
        assert (entry["changed"], entry["msg"]) == (False, "left alone: shutoff")
    assert agent.count("POST") == 0


def test_pruning_by_name(agent: BadAgent, run: Run) -> None:
    for name in ("nightly-1", "nightly-2", "golden"):
        run(agent, vm="web01", name=name)
    result = run(agent, "vm_snapshot_prune", vms=["*"], names=["*"], protect=["golden"], include_foreign=True)
    assert sorted(only(result)["removed"]) == ["nightly-1", "nightly-2"]
    assert agent.names == ["golden"]
