# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Paths and times of requests about a VM's snapshots."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.qx_node.snapshot_requests import (
    Snapshots,
    path_of,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.deadline import Deadline
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import VmId


def test_a_name_cannot_leave_its_place_in_the_path() -> None:
    vm_id = VmId("web01", "a/b?c")
    assert path_of(vm_id) == "/vms/a%2Fb%3Fc/snapshots"
    assert path_of(vm_id, "../x#y") == "/vms/a%2Fb%3Fc/snapshots/..%2Fx%23y"


def test_a_change_for_which_no_time_is_left_is_not_sent() -> None:
    sent: list[float] = []
    client: Any = SimpleNamespace(address=SimpleNamespace(timeout=30), change=lambda *request: sent.append(request[3]))
    for seconds in (0, 1.5):
        with pytest.raises(KvmError, match="before the revert of web01 could begin") as refused:
            Snapshots(client).change("POST", "/path", None, Deadline(seconds), "the revert of web01")
        assert (refused.value.error_code, "Nothing was sent" in refused.value.remedy) == ("timeout", True)
    assert sent == []
    Snapshots(client).change("POST", "/path", None, Deadline(3), "the revert of web01")
    assert sent == [pytest.approx(1.5, abs=0.5)]


@pytest.mark.parametrize(("left", "waits"), [(600, 540), (40, 20)])
def test_a_change_leaves_time_to_look_whether_it_was_done(left: float, waits: float) -> None:
    client: Any = SimpleNamespace(address=SimpleNamespace(timeout=30))
    assert Snapshots(client)._patience(Deadline(left)) == pytest.approx(waits, abs=0.5)
