# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An alarm rings for a step that takes too long, and for no other."""

from __future__ import annotations

import threading

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.operations.create_snapshot import (
    alarm,
)


def test_an_alarm_rings_while_the_step_goes_on_and_hears_of_its_end() -> None:
    rang, events = threading.Event(), list[threading.Event]()

    def ring(finished: threading.Event) -> None:
        events.append(finished)
        rang.set()

    with alarm(0.0, ring):
        assert rang.wait(10)
        assert not events[0].is_set()
    assert events[0].is_set()


def test_a_step_that_ends_in_time_hears_nothing() -> None:
    rang = list[threading.Event]()
    before = threading.active_count()
    with alarm(60, rang.append):
        assert threading.active_count() == before + 1
    with alarm(None, rang.append):
        pass
    assert rang == []
