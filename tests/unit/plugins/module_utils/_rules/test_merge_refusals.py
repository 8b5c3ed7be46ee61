# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a merge is refused or ends early: each says which VM, and what to do."""

from __future__ import annotations

from ansible_collections.limiquantix.kvm.plugins.module_utils._rules import merge_refusals
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.deadline import Deadline
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.merge import MergeProgress


def test_a_merge_that_goes_on_is_told_with_how_far_it_is() -> None:
    progress = MergeProgress(50, 200, 0, 1.0)
    error = merge_refusals.merge_goes_on("web01", Deadline(5), progress)
    assert (error.error_code, error.progress) == ("timeout", progress)
    assert "25 % are done" in error.message
    aborted = merge_refusals.merge_timeout("web01", Deadline(5))
    assert (aborted.error_code, "was aborted" in aborted.message) == ("timeout", True)


def test_room_that_lacks_is_told_with_both_numbers() -> None:
    error = merge_refusals.no_space_to_merge("web01", "/vm/top", "/vm/base", free=1 << 20, wanted=3 << 20)
    assert "1 MiB" in error.message
    assert "3 MiB" in error.message
    assert error.error_code == "no_space"


def test_a_comparison_that_was_given_up_names_both_images() -> None:
    error = merge_refusals.compare_timeout("web01", "/vm/top", "/vm/base", Deadline(5))
    assert error.error_code == "timeout"
    assert error.message == "/vm/top and /vm/base of web01 were not compared within 5 seconds."
    assert "No file was deleted" in error.remedy
