# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The members of a group on one host: all of them go on to the next step at its moment, or none."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.meeting import (
    Meeting,
    boot_id,
    boot_time,
    check_boot,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.appointment import Appointment
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError


def soon(boot: str = "") -> Appointment:
    now = boot_time()
    return Appointment(boot or boot_id(), now + 0.2, now + 0.4, now + 0.6, now + 2)


def came(meeting: Meeting, *, late_for: str = "", members: int = 3) -> list[str]:
    """Have members meet, the last of them later than the moment of that step; return how far each came."""

    def go(number: int) -> str:
        late = late_for if number == members - 1 else ""
        reached = "nothing"
        try:
            time.sleep(0.3 if late == "ready" else 0)
            meeting.gather(f"vm{number}")
            reached = "ready"
            time.sleep(0.3 if late == "held" else 0)
            meeting.cut(f"vm{number}")
        except KvmError as error:
            return reached if error.error_code == "appointment_missed" else error.error_code
        return "held"

    with ThreadPoolExecutor(members) as pool:
        return list(pool.map(go, range(members)))


def test_all_members_come_to_the_cut_at_its_moment() -> None:
    meeting = Meeting(soon(), 3)
    assert came(meeting) == ["held"] * 3
    assert 0 <= boot_time() - meeting.appointment.cut < 0.15
    meeting.last()
    assert boot_time() >= meeting.appointment.release


@pytest.mark.parametrize(("late", "reached"), [("ready", "nothing"), ("held", "ready")])
def test_one_that_is_late_keeps_all_from_the_next_step(late: str, reached: str) -> None:
    assert came(Meeting(soon(), 3), late_for=late) == [reached] * 3


def test_one_that_never_comes_keeps_all_from_the_first_step() -> None:
    assert came(Meeting(soon(), 4)) == ["nothing"] * 3


def test_an_appointment_ends_with_the_start_of_the_host() -> None:
    check_boot(soon())
    with pytest.raises(KvmError) as caught:
        check_boot(soon("another"))
    assert caught.value.error_code == "appointment_missed"
