# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many VMs at once: every answer in its place, few connections, and nobody waits for one that hangs."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._task import parallel_vms as _fleet
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.parallel_vms import Fleet
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError


class Connection:
    """Counts itself, and notices when two threads use it at once."""

    def __init__(self, opened: list[Connection]) -> None:
        self._opened = opened
        self._busy = threading.Lock()
        self.closed = False
        opened.append(self)

    def another(self) -> Any:
        time.sleep(0.01)  # as long as a connection takes: others look for a free one meanwhile
        return Connection(self._opened)

    def work(self, item: int) -> int:
        assert self._busy.acquire(blocking=False), "two threads on one connection"
        time.sleep(0.005)  # as long as some work takes: another thread would be noticed
        self._busy.release()
        return item * 10

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def opened() -> list[Connection]:
    return []


@pytest.fixture
def first(opened: list[Connection]) -> Any:
    return Connection(opened)


def work(connection: Any, item: int) -> Any:
    return connection.work(item)


def test_answers_are_in_the_items_order(first: Any) -> None:
    assert Fleet(first, 4, 10).each(list(range(20)), work) == [item * 10 for item in range(20)]


@pytest.mark.parametrize("parallel", [1, 3])
def test_connections_are_few_and_used_again(first: Any, opened: list[Connection], parallel: int) -> None:
    fleet = Fleet(first, parallel, 10)
    for _round in range(5):
        fleet.each(list(range(10)), work)
    assert len(opened) == parallel
    fleet.close()
    # The first one belongs to who made the fleet.
    assert [connection.closed for connection in opened] == [False] + [True] * (parallel - 1)


def test_an_answer_is_only_told_when_its_connection_is_free(first: Any, opened: list[Connection]) -> None:
    class SlowFleet(Fleet):
        def give_back(self, hypervisor: Any) -> None:
            time.sleep(0.05)  # slower than whoever was told the answer and comes for the next
            super().give_back(hypervisor)

    fleet = SlowFleet(first, 1, 10)
    for _round in range(3):
        fleet.each([1, 2], work)
    assert len(opened) == 1


def test_no_items_no_thread(first: Any) -> None:
    assert Fleet(first, 4, 10).each([], work) == []


def test_one_error_leaves_the_others_alone(first: Any) -> None:
    def fail_some(_connection: Any, item: int) -> int:
        if item == 1:
            raise KvmError("locked", "somebody has it")
        if item == 2:
            raise KeyError("a bug")
        return item

    answers = Fleet(first, 2, 10).each([0, 1, 2, 3], fail_some)
    assert (answers[0], answers[3]) == (0, 3)
    assert isinstance(answers[1], KvmError)
    assert answers[1].error_code == "locked"
    assert isinstance(answers[2], KvmError)
    assert answers[2].error_code == "internal_error"
    assert "KeyError" in answers[2].message
    assert "fail_some" in answers[2].details["traceback"]


def test_a_connection_that_cannot_be_opened_is_its_vms_error(first: Any) -> None:
    def refuse() -> Any:
        raise KvmError("connection_failed", "too many clients")

    first.another = refuse
    answers = Fleet(first, 3, 10).each(list(range(9)), work)
    failed = [answer for answer in answers if isinstance(answer, KvmError)]
    assert {answer.error_code for answer in failed} <= {"connection_failed"}
    assert [answer for answer in answers if answer not in failed] == [
        item * 10 for item, answer in enumerate(answers) if answer not in failed
    ]


def test_one_that_hangs_is_given_up_and_holds_up_nobody(first: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_fleet, "_GRACE", 0.2)
    hang = threading.Event()

    def hang_at_first(_connection: Any, item: int) -> int:
        if item == 0:
            hang.wait(30)
        return item

    started = time.monotonic()
    answers = Fleet(first, 1, 0.1).each([0, 1, 2], hang_at_first)
    hang.set()
    assert time.monotonic() - started < 10
    assert isinstance(answers[0], KvmError)
    assert answers[0].error_code == "timeout"
    assert answers[1:] == [1, 2]
