# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests that are armed are let go on when their time is over, and all of them at the end."""

from __future__ import annotations

import threading
import time

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.guest.thaw_guard import _Armed


class Guest:
    """A guest that notes that it was let go on."""

    def __init__(self) -> None:
        self.thawed = threading.Event()

    def thaw(self) -> None:
        self.thawed.set()


def armed(guest: Guest, seconds: float) -> _Armed:
    found = _Armed()
    found.add("a", time.monotonic() + seconds, (guest.thaw, ()))
    return found


def test_only_a_guest_whose_time_is_over_is_let_go_on() -> None:
    waits, over = Guest(), Guest()
    guard = armed(waits, 60)
    guard.add("b", time.monotonic() - 1, (over.thaw, ()))
    assert guard.wait_time() == 0.0
    guard.rescue_overdue()
    assert over.thawed.wait(10)
    assert not waits.thawed.is_set()


def test_a_guest_stays_armed_until_the_module_says_that_it_goes_on() -> None:
    guest = Guest()
    guard = armed(guest, -1)
    guard.rescue_overdue()
    assert guest.thawed.wait(10)
    assert (guard.wait_time() or 0) > 0
    guard.remove("a")
    assert guard.wait_time() is None


def test_at_the_end_all_that_is_still_armed_goes_on() -> None:
    guest = Guest()
    armed(guest, 60).finish()
    assert guest.thawed.is_set()
