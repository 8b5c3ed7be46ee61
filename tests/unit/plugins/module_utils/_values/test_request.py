# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a task asks for, and what it asks for by saying nothing."""

from __future__ import annotations

from ansible_collections.limiquantix.kvm.plugins.module_utils._values.request import RevertRequest, SnapshotRequest


def test_a_snapshot_is_disk_only_unless_memory_is_asked_for() -> None:
    assert SnapshotRequest("s").disk_only
    assert not SnapshotRequest("s", include_memory=True).disk_only


def test_a_disk_is_left_out_only_where_the_task_says_so() -> None:
    assert not SnapshotRequest("s").leaves_out
    assert SnapshotRequest("s", on_uncovered="leave_out").leaves_out


def test_the_snapshot_that_keeps_the_present_is_named_after_the_revert() -> None:
    assert RevertRequest("s1").kept_as == "before-s1"
