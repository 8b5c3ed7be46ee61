# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The members of a group on this host meet: none is held unless all are ready, none is switched unless all are held."""

from __future__ import annotations

import threading
import time
from typing import Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._values.appointment import Appointment, Stamps
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError

_BOOT_ID = "/proc/sys/kernel/random/boot_id"


def boot_time() -> float:
    """Return the seconds since this host was started, which nobody can set, and which count while it sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    """Return what tells this start of the host from every other."""
    with open(_BOOT_ID, encoding="ascii") as file:
        return file.read().strip()


class Meeting:
    """The members of a group on this host: none is held unless all are ready, none switched unless all are held."""

    def __init__(self, appointment: Appointment, members: int) -> None:
        self.appointment = appointment
        self.stamps: dict[str, Stamps] = {}
        self._members = members
        self._here: dict[str, int] = {"ready": 0, "held": 0}
        self._guard = threading.Lock()

    def gather(self, vm: str) -> None:
        """Wait for the time to hold. Raises ``appointment_missed``: then no member of this host is held."""
        self._meet(vm, "ready", self.appointment.begin)

    def cut(self, vm: str, why: str = "") -> None:
        """Wait for the time to switch. Raises ``appointment_missed``: then no member of this host is switched."""
        self._meet(vm, "held", self.appointment.cut, why)

    def last(self) -> None:
        """Wait for the time to go on."""
        _sleep_until(self.appointment.release)

    def seconds_left(self) -> float:
        """Return for how long a member may still be held."""
        return self.appointment.hard_end - boot_time()

    def note(self, uuid: str, stamps: Stamps) -> None:
        """Note how a member was held."""
        with self._guard:
            self.stamps[uuid] = stamps

    def _meet(self, vm: str, what: str, moment: float, why: str = "") -> None:
        # Late is who is not counted at the moment, and after it nobody is: so all of this host decide the same.
        with self._guard:
            late = boot_time() - moment
            self._here[what] += late < 0
        if late >= 0:
            raise appointment_missed(vm, f"it was {what} {late:.2f} seconds too late{why}")
        _sleep_until(moment)
        with self._guard:
            missing = self._members - self._here[what]
        if missing:
            raise appointment_missed(
                vm, f"{missing} other VM{'s' if missing > 1 else ''} of the group on this host {_NOT[what]}"
            )


_NOT = {"ready": "could not be held", "held": "could not be held in time"}


def check_boot(appointment: Appointment, now: Optional[str] = None) -> None:
    """Raise ``appointment_missed`` where the host was started anew since the appointment was made."""
    if appointment.boot_id != (now or boot_id()):
        raise appointment_missed("This host", "it was started anew after its clock was read")


def _sleep_until(moment: float) -> None:
    while (left := moment - boot_time()) > 0:
        time.sleep(left)


def appointment_missed(vm: str, why: str) -> KvmError:
    """Return the error of a VM that is not taken with its group; nothing of it has changed."""
    remedy = "No snapshot of this VM was taken. Run the playbook again. If it is late again, wait until the host is less busy."
    return KvmError("appointment_missed", f"{vm} missed the moment of its group: {why}.", remedy)
