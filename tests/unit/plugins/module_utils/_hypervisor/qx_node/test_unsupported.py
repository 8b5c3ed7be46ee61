# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What qx-node cannot promise is refused before it is asked."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils._hypervisor.qx_node.bad_agent import (
    BadAgent,
)
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils._hypervisor.qx_node.modules import (
    Run,
    agent,
    run,
)

__all__ = ("agent", "run")


@pytest.mark.parametrize(
    ("module", "wish"),
    [
        ("vm_snapshot", {"name": "s", "disks": ["vda"]}),
        ("vm_snapshot", {"name": "s", "overlay_dir": "/srv"}),
        ("vm_snapshot", {"name": "s", "protected": True}),
        ("vm_snapshot", {"name": "s", "labels": {"a": "b"}}),
        ("vm_snapshot", {"name": "s", "expires": "14d"}),
        ("vm_snapshot", {"name": "s", "state": "absent", "labels": {"a": "b"}}),
        ("vm_snapshot", {"name": "s", "quiesce": "required"}),
        ("vm_snapshot", {"name": "s", "state": "reverted", "power": "shutoff"}),
        ("vm_snapshot", {"name": "s", "state": "absent", "children": True}),
        ("vm_snapshot", {"name": "s", "state": "absent", "bandwidth": 5}),
        ("vm_snapshot_prune", {"older_than": "7d", "include_foreign": True}),
        ("vm_snapshot_prune", {"keep_last": 3, "include_foreign": True}),
        ("vm_snapshot_prune", {"keep_daily": 3, "timezone": "UTC", "include_foreign": True}),
        ("vm_snapshot_prune", {"expired": True, "include_foreign": True}),
        ("vm_snapshot_prune", {"labels": {"a": "b"}, "include_foreign": True}),
        ("vm_snapshot_prune", {"orphans": True, "include_foreign": True}),
        ("vm_snapshot_prune", {"names": ["s"]}),
    ],
)
def test_what_nobody_could_promise_is_refused(agent: BadAgent, run: Run, module: str, wish: dict[str, Any]) -> None:
    result = run(agent, module, vms=["*"], **wish)
    assert (result["failed"], result["changed"], result["error_code"]) == (True, False, "not_supported")
    assert result["details"]["options"][0] in result["msg"]
    assert agent.requests == []
