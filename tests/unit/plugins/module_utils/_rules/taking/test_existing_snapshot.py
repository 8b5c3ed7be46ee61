# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A snapshot that is there already is what is asked for, or it is refused by name."""

from __future__ import annotations

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.taking.existing_snapshot import existing_snapshot
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.request import SnapshotRequest
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils.values import snapshot, vm


def test_no_snapshot_of_that_name_is_nothing_to_compare() -> None:
    assert existing_snapshot(vm(), SnapshotRequest("s")) is None


@pytest.mark.parametrize(
    ("there", "asked", "difference"),
    [
        ({}, {}, None),
        ({"include_memory": True}, {}, "it holds the memory too"),
        ({}, {"include_memory": True}, "it holds no memory"),
        ({"state": "shutoff"}, {"include_memory": True}, None),
        ({"untold": ("include_memory",)}, {"include_memory": True}, None),
        ({}, {"disks": ("vda",)}, None),
        ({}, {"disks": ("vda", "vdb")}, "it covers vda, and vda, vdb was asked for"),
        ({"disks": ()}, {"disks": ("vda",)}, "it covers no disk"),
    ],
)
def test_what_is_there_is_compared_with_what_is_asked_for(
    there: dict[str, object], asked: dict[str, object], difference: str | None
) -> None:
    found = snapshot("s", **there)
    machine, request = vm(snapshots=(found,)), SnapshotRequest("s", **asked)
    if difference is None:
        assert existing_snapshot(machine, request) == found
        return
    with pytest.raises(KvmError, match=difference) as refused:
        existing_snapshot(machine, request)
    assert refused.value.error_code == "snapshot_mismatch"
    assert refused.value.details["existing"]["name"] == "s"


def test_memory_that_cannot_be_saved_may_be_left_out_where_the_task_says_so() -> None:
    found = snapshot("s")
    machine = vm(snapshots=(found,), memory_blockers=("a host device",))
    request = SnapshotRequest("s", include_memory=True, on_memory_blocked="disk_only")
    assert existing_snapshot(machine, request) == found
