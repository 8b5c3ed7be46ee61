# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A change that was not answered: the module looks whether it was done."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils._hypervisor.qx_node.bad_agent import (
    PAGE,
    BadAgent,
)
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils._hypervisor.qx_node.modules import (
    Run,
    agent,
    only,
    run,
)

__all__ = ("agent", "run")


@pytest.mark.parametrize("fault", ["cut", "silent", "half", PAGE, b"not json"])
def test_taken_and_not_answered(agent: BadAgent, run: Run, fault: Any) -> None:
    agent.break_on("POST", fault)
    entry = only(run(agent, vm="web01", name="s"))
    assert (entry["changed"], entry["failed"], entry["disk_only"]) == (True, False, True)
    assert "The module looked: taking snapshot 's' of web01 was done" in entry["msg"]
    assert (agent.count("POST"), agent.names) == (1, ["s"])


@pytest.mark.parametrize(
    ("fault", "status", "error_code"),
    [
        ("cut_before", 200, "connection_lost"),
        ("silent_before", 200, "outcome_unknown"),
        (PAGE, 200, "agent_bad_answer"),
        (PAGE, 504, "agent_bad_answer"),
    ],
)
def test_not_taken_and_not_answered(agent: BadAgent, run: Run, fault: Any, status: int, error_code: str) -> None:
    agent.forgets = True
    agent.break_on("POST", fault, status)
    result = run(agent, vm="web01", name="s")
    assert (result["failed"], result["changed"], result["error_code"]) == (True, False, error_code)
    assert "'s' of web01" in result["msg"]
    assert "It was not tried again" in result["msg"]
    assert (agent.count("POST"), agent.names) == (1, [])


def test_looking_fails_too(agent: BadAgent, run: Run) -> None:
    agent.break_on("POST", "cut")
    original = agent.fault_of

    def also_after_the_post(method: str) -> Any:
        return "cut" if agent.count("POST") else original(method)

    agent.fault_of = also_after_the_post  # type: ignore[method-assign]
    result = run(agent, vm="web01", name="s")
    assert (result["error_code"], agent.count("POST")) == ("outcome_unknown", 1)


@pytest.mark.parametrize(
    ("fault", "error_code"),
    [("cut", None), ("silent", None), ("cut_before", "connection_lost"), ("silent_before", "outcome_unknown")],
)
def test_a_removal_that_is_not_answered(agent: BadAgent, run: Run, fault: str, error_code: str | None) -> None:
    run(agent, vm="web01", name="s")
    agent.break_on("DELETE", fault)
    entry = only(run(agent, vm="web01", name="s", state="absent"))
    assert (entry["error_code"], entry["changed"]) == (error_code, error_code is None)
    assert agent.count("DELETE") == 1


@pytest.mark.parametrize("fault", ["cut", "silent", "cut_before", PAGE])
def test_a_revert_that_is_not_answered(agent: BadAgent, run: Run, fault: Any) -> None:
    run(agent, vm="web01", name="s")
    agent.break_on("POST", fault)
    result = run(agent, vm="web01", name="s", state="reverted")
    assert result["error_code"] == "outcome_unknown"
    assert "another revert would delete" in result["msg"]
    assert "vm_snapshot_info" not in result["msg"]  # it could not tell
    assert agent.count("POST") == 2  # with that of the taking
