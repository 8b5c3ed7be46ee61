# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A freeze is held only where the guest says so to the end, and a thaw is owed where one may have begun."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.guest import freeze as freeze_file
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.guest.freeze import frozen
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.taking.freeze import Freeze


class LibvirtError(Exception):
    """What libvirt raises, with its code and its text."""

    def get_error_code(self) -> int:
        return int(self.args[0])

    def get_error_message(self) -> str:
        return str(self.args[1])


class Domain:
    """A guest whose agent answers so; ``frozen`` is what fsFreeze() returns or raises, ``thawed`` the same of fsThaw()."""

    def __init__(self, frozen: Any = 1, thawed: Any = 1, probe: Any = None) -> None:
        self._answers = {"freeze": frozen, "thaw": thawed, "probe": probe}
        self.asked: list[str] = []

    def UUIDString(self) -> str:  # noqa: N802 - libvirt's name
        return "uuid"

    def agentSetResponseTimeout(self, _seconds: int, _flags: int) -> None:  # noqa: N802 - libvirt's name
        pass

    def getTime(self, _flags: int) -> Any:  # noqa: N802 - libvirt's name
        return self._answer("probe")

    def fsFreeze(self) -> Any:  # noqa: N802 - libvirt's name
        return self._answer("freeze")

    def fsThaw(self) -> Any:  # noqa: N802 - libvirt's name
        return self._answer("thaw")

    def _answer(self, name: str) -> Any:
        self.asked.append(name)
        answer = self._answers[name]
        if isinstance(answer, Exception):
            raise answer
        return answer


class Guard:
    """A guard that notes whether it is armed."""

    def __init__(self, error: OSError | None = None) -> None:
        self.armed, self._error = False, error

    def arm(self, *_parts: Any) -> None:
        if self._error:
            raise self._error
        self.armed = True

    def disarm(self, _uuid: str) -> None:
        self.armed = False


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freeze_file, "libvirt", SimpleNamespace(libvirtError=LibvirtError))
    monkeypatch.setattr(freeze_file, "agent_timeout", lambda _name: -2)
    monkeypatch.setattr(freeze_file.time, "sleep", lambda _seconds: None)


def froze(domain: Domain, guard: Any, seconds: int = 30) -> tuple[bool, Freeze]:
    """Return whether the freeze was held inside, and what is known of it afterwards."""
    with frozen(domain, "web01", guard, seconds) as freeze:
        held = freeze.held
    return held, freeze


def test_a_guest_is_frozen_and_thawed_once() -> None:
    domain, guard = Domain(), Guard()
    held, freeze = froze(domain, guard)
    assert (held, freeze.held, freeze.reason) == (True, True, "")
    assert (domain.asked, guard.armed) == (["probe", "freeze", "thaw"], False)


def test_a_silent_agent_is_never_asked_to_freeze() -> None:
    domain = Domain(probe=LibvirtError(86, "not responding"))
    _held, freeze = froze(domain, Guard())
    assert domain.asked == ["probe"]
    assert "does not answer: not responding" in freeze.reason


def test_an_agent_that_cannot_tell_the_time_may_freeze_all_the_same() -> None:
    assert froze(Domain(probe=LibvirtError(1, "no such command")), Guard())[0]


def test_a_freeze_that_may_come_late_is_thawed() -> None:
    domain = Domain(frozen=LibvirtError(86, "not responding"))
    _held, freeze = froze(domain, Guard())
    assert domain.asked[-1] == "thaw"
    assert not freeze.held


def test_the_freeze_of_somebody_else_is_left_to_them() -> None:
    domain = Domain(frozen=LibvirtError(1, "The command guest-fsfreeze-freeze has been disabled"))
    froze(domain, Guard())
    assert "thaw" not in domain.asked


def test_a_vm_that_was_suspended_just_before_was_not_asked_and_is_not_thawed() -> None:
    domain, guard = Domain(frozen=LibvirtError(55, "Requested operation is not valid: domain is not running")), Guard()
    _held, freeze = froze(domain, guard)
    assert "thaw" not in domain.asked
    assert (freeze.held, freeze.still_frozen, guard.armed) == (False, False, False)


def test_a_guest_that_thawed_by_itself_was_not_held() -> None:
    held, freeze = froze(Domain(thawed=0), Guard())
    assert (held, freeze.held) == (True, False)
    assert freeze.reason == "the guest thawed before the snapshot was complete"


def test_no_file_system_to_freeze_is_no_freeze() -> None:
    _held, freeze = froze(Domain(frozen=0, thawed=0), Guard())
    assert (freeze.held, freeze.reason) == (False, "the guest agent found no file system to freeze")


def test_a_thaw_without_an_answer_leaves_the_guard_armed() -> None:
    domain, guard = Domain(thawed=LibvirtError(86, "not responding")), Guard()
    _held, freeze = froze(domain, guard)
    assert (freeze.held, freeze.still_frozen, guard.armed) == (False, True, True)
    assert domain.asked.count("thaw") == 3


def test_without_a_guard_nothing_is_frozen() -> None:
    domain = Domain()
    _held, freeze = froze(domain, Guard(OSError("no room for a process")))
    assert (domain.asked, freeze.reason) == ([], "no room for a process")


def test_a_freeze_that_reached_its_limit_was_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([0.0, 31.0])
    monkeypatch.setattr(freeze_file, "time", SimpleNamespace(monotonic=lambda: next(moments), sleep=time.sleep))
    held, freeze = froze(Domain(), Guard(), seconds=30)
    assert (held, freeze.held) == (True, False)
    assert "reached its limit of 30 seconds" in freeze.reason
