# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a plan can tell of the clock of a guest that goes on from memory."""

from __future__ import annotations

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.guest_clock import clock_foreseen, clock_note


@pytest.mark.parametrize(
    ("power", "has_agent", "why"),
    [("paused", True, "it is paused"), ("paused", False, "it is paused"), ("running", False, "it has no guest agent")],
)
def test_a_clock_that_nobody_can_set_is_told_beforehand(power: str, has_agent: bool, why: str) -> None:
    assert clock_foreseen("web01", "12:00", power, has_agent) == (clock_note("web01", "12:00", why),)
    assert f"because {why}" in clock_note("web01", "12:00", why)


def test_a_guest_agent_that_is_there_is_asked_first() -> None:
    assert clock_foreseen("web01", "12:00", "running", True) == ()


def test_a_moment_that_is_not_known_is_not_invented() -> None:
    assert "goes on from the moment when" in clock_note("web01", None, "it is paused")
    assert "goes on from 12:00, when" in clock_note("web01", "12:00", "it is paused")
