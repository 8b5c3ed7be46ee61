# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long an agent's list of VMs is believed, on a clock of the test's own."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.qx_node import vm_list as _listing


class SlowAgent:
    """Takes ``seconds`` of the clock for a list, and counts how often it was asked."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.now = 100.0
        self.asked = 0

    def monotonic(self) -> float:
        return self.now

    def get(self, *_words: str) -> dict[str, Any]:
        self.asked += 1
        self.now += self.seconds
        return {"vms": [{"vmId": "1", "name": "web01", "state": "RUNNING"}]}


@pytest.mark.parametrize(("takes", "believed"), [(0.01, 2.0), (1.5, 7.5), (9.0, 10.0)])
def test_a_list_is_believed_the_longer_the_dearer_it_is(
    monkeypatch: pytest.MonkeyPatch, takes: float, believed: float
) -> None:
    agent = SlowAgent(takes)
    monkeypatch.setattr(_listing, "time", agent)
    listing = _listing.Listing(agent)
    for seconds, asked in ((0.0, 1), (believed - 0.1, 1), (0.2, 2)):
        agent.now += seconds
        assert [vm.id.name for vm in listing.vms()] == ["web01"]
        assert agent.asked == asked


def test_what_was_changed_is_asked_for_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = SlowAgent(1.0)
    monkeypatch.setattr(_listing, "time", agent)
    listing = _listing.Listing(agent)
    listing.vms()
    listing.forget()
    assert listing.find("1") is not None
    assert agent.asked == 2
