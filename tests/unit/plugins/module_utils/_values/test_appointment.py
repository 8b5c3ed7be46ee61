# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A member's times, as the result of its host tells them."""

from __future__ import annotations

from ansible_collections.limiquantix.kvm.plugins.module_utils._values.appointment import Stamps


def test_a_members_times_are_told_by_the_names_the_playbooks_read() -> None:
    told = Stamps(began=1.0, held=2.0, switched_from=3.0, switched_to=4.0, released=5.0).to_result()
    assert told == {
        "began": 1.0,
        "held": 2.0,
        "switched_from": 3.0,
        "switched_to": 4.0,
        "released": 5.0,
        "disturbed": "",
    }
