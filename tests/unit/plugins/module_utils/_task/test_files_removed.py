# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was removed, held against what was planned."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.limiquantix.kvm.plugins.module_utils._task.files_removed import in_order, otherwise


def test_files_are_told_in_the_order_of_the_plan_and_others_after_them() -> None:
    assert in_order(["/a", "/b", "/c"], ["/x", "/c", "/a"]) == ("/a", "/c", "/x")


def test_nothing_is_noted_where_all_went_as_planned() -> None:
    assert otherwise(["/a", "/b"], ["/b", "/a"]) == ()


def test_what_stayed_and_what_went_too_is_noted() -> None:
    assert otherwise(["/a", "/b"], ["/b", "/c"]) == (
        "these were to be deleted and are still there: /a",
        "these were deleted too: /c",
    )


def test_two_names_of_one_file_are_one(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert otherwise([str(tmp_path / "link")], [str(tmp_path / "file")]) == ()
