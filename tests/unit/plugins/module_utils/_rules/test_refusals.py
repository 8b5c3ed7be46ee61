# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What several backends refuse in the same words: each says which VM, and what to do."""

from __future__ import annotations

from ansible_collections.limiquantix.kvm.plugins.module_utils._rules import refusals


def test_changed_disks_are_each_told() -> None:
    error = refusals.disks_changed("web01", "s", ["vda"], ["vdb", "vdc"])
    assert "vda was removed; vdb was added; vdc was added" in error.message
    assert (error.details["removed"], error.details["added"]) == (["vda"], ["vdb", "vdc"])


def test_a_snapshot_is_said_to_be_on_the_list_or_not_as_it_is_not_as_told() -> None:
    taken = refusals.not_as_told("web01", "s", "taken", "Look.")
    removed = refusals.not_as_told("web01", "s", "removed", "Look.")
    assert taken.message.endswith("was taken, and is not listed.")
    assert removed.message.endswith("was removed, and is still listed.")
