# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest's clock counts as set when the guest tells the right time."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any, Optional

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.guest import clock, freeze
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.guest.clock import set_clock

UNRESPONSIVE, INTERNAL = 86, 1


class LibvirtError(Exception):
    """What libvirt raises, with its code and its text."""

    def get_error_code(self) -> int:
        return int(self.args[0])

    def get_error_message(self) -> str:
        return str(self.args[1])


class Domain:
    """A guest whose agent answers in these ways to being asked to set the time, the last one for ever."""

    def __init__(self, *answers: Optional[LibvirtError], behind: float = 0) -> None:
        self.answers, self.behind, self.asked = list(answers), behind, 0
        self.timeouts: list[int] = []

    def agentSetResponseTimeout(self, seconds: int, _flags: int) -> None:  # noqa: N802 - libvirt's name
        self.timeouts.append(seconds)

    def setTime(self, _moment: dict[str, int], _flags: int) -> None:  # noqa: N802 - libvirt's name
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer:
            raise answer

    def getTime(self, _flags: int) -> dict[str, Any]:  # noqa: N802 - libvirt's name
        return {"seconds": time.time() - self.behind}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    stub = SimpleNamespace(libvirtError=LibvirtError)
    for module in (clock, freeze):
        monkeypatch.setattr(module, "libvirt", stub)
    monkeypatch.setattr(clock, "_PAUSE", 0)
    monkeypatch.setattr(clock, "agent_timeout", lambda _name: -2)


def test_a_clock_that_is_right_is_no_failure_whatever_the_agent_said() -> None:
    assert set_clock(Domain(None), "web01") == ""
    assert set_clock(Domain(LibvirtError(INTERNAL, "hwclock failed")), "web01") == ""


def test_a_clock_that_stays_behind_says_why() -> None:
    assert set_clock(Domain(None, behind=60), "web01") == "it tells another time still"
    refused = Domain(LibvirtError(INTERNAL, "no hwclock"), behind=60)
    assert set_clock(refused, "web01") == "the guest agent did not set it (no hwclock)"
    assert refused.asked == 1


def test_an_agent_that_is_silent_is_asked_again_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    silent = LibvirtError(UNRESPONSIVE, "not responding")
    domain = Domain(silent, silent, LibvirtError(INTERNAL, "no hwclock"), behind=60)
    assert "no hwclock" in set_clock(domain, "web01")
    assert domain.asked == 3
    monkeypatch.setattr(clock, "_SECONDS", -1)
    assert "not responding" in set_clock(Domain(silent, behind=60), "web01")


def test_an_agent_that_sets_the_time_late_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of these answers took longer than two times may be apart."""
    monkeypatch.setattr(clock, "_CLOSE", -1)
    monkeypatch.setattr(clock, "_SECONDS", 0.2)
    domain = Domain(None, behind=3)
    assert set_clock(domain, "web01") == "it tells another time still"
    assert domain.asked > 1


def test_the_agents_own_time_limit_is_put_back() -> None:
    domain = Domain(None)
    set_clock(domain, "web01")
    assert domain.timeouts[-1] == -2
