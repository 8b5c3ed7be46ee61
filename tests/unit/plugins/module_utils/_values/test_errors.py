# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An error as modules return it."""

from __future__ import annotations

from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError


def test_the_remedy_stands_behind_the_message() -> None:
    assert KvmError("busy", "web01 is busy.", "Wait.").full_message == "web01 is busy. Wait."
    assert KvmError("busy", "web01 is busy.").full_message == "web01 is busy."


def test_details_are_told_only_where_there_are_any() -> None:
    assert KvmError("busy", "It is.", job="save").to_failure() == {
        "msg": "It is.",
        "error_code": "busy",
        "details": {"job": "save"},
    }
    assert "details" not in KvmError("busy", "It is.").to_failure()
