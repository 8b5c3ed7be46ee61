# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A moment that passes, and a question that is given up when it hangs."""

from __future__ import annotations

import threading

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._values.deadline import Deadline, within


def test_time_that_is_left_is_never_below_zero() -> None:
    assert Deadline(-5).remaining() == 0.0
    assert Deadline(-5).passed


def test_a_deadline_to_come_has_not_passed() -> None:
    deadline = Deadline(60)
    assert 59 < deadline.remaining() <= 60
    assert not deadline.passed


def test_what_a_question_answers_or_raises_comes_back() -> None:
    assert within(5, lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        within(5, lambda: 1 // 0)


def test_a_question_that_hangs_is_given_up() -> None:
    never = threading.Event()
    with pytest.raises(TimeoutError):
        within(0.01, never.wait)
    never.set()
