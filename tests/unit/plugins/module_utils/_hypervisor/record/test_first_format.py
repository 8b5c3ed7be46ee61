# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Records of the first version, read as today's."""

from __future__ import annotations

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.first_format import upgraded


def test_todays_records_are_left_alone() -> None:
    assert upgraded({"schema": 2, "snapshots": {}}) == {"schema": 2, "snapshots": {}}


def test_what_was_quiesced_is_noted_of_each_snapshot() -> None:
    assert upgraded({"quiesced": {"s@1": True}}) == {"snapshots": {"s@1": {"quiesced": True}}, "journal": None}


def test_a_take_under_way_is_told_by_its_files() -> None:
    journal = upgraded({"taking": ["/vm/a"]})["journal"]
    assert (journal["kind"], journal["files"], journal["merging"]) == ("take", ["/vm/a"], [])
