# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What several backends refuse in the same words: each says which VM, and what to do."""

from __future__ import annotations

from ansible_collections.limiquantix.kvm.plugins.module_utils._rules import refusals
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.deadline import Deadline
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.merge import MergeProgress


def test_changed_disks_are_each_told() -> None:
    error = refusals.disks_changed("web01", "s", ["vda"], ["vdb", "vdc"])
    assert "vda was removed; vdb was added; vdc was added" in error.message
    assert (error.details["removed"], error.details["added"]) == (["vda"], ["vdb", "vdc"])


def test_a_snapshot_is_said_to_be_on_the_list_or_not_as_it_is_not_as_told() -> None:
    taken = refusals.not_as_told("web01", "s", "taken", "Look.")
    removed = refusals.not_as_told("web01", "s", "removed", "Look.")
    assert taken.message.endswith("was taken, and is not listed.")
    assert removed.message.endswith("was removed, and is still listed.")


def test_a_merge_that_goes_on_is_told_with_how_far_it_is() -> None:
    progress = MergeProgress(50, 200, 0, 1.0)
    error = refusals.merge_goes_on("web01", Deadline(5), progress)
    assert (error.error_code, error.progress) == ("timeout", progress)
    assert "25 % are done" in error.message
    aborted = refusals.merge_timeout("web01", Deadline(5))
    assert (aborted.error_code, "was aborted" in aborted.message) == ("timeout", True)


def test_room_that_lacks_is_told_with_both_numbers() -> None:
    error = refusals.no_space_to_merge("web01", "/vm/top", "/vm/base", free=1 << 20, wanted=3 << 20)
    assert "1 MiB" in error.message
    assert "3 MiB" in error.message
    assert error.error_code == "no_space"
