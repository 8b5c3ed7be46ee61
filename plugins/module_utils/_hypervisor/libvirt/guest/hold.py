# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Holding a VM still while its disks, or those of its whole group, are switched, and letting it go on whatever happens."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.libraries import libvirt
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.libvirt_errors import (
    translated,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.guest.thaw_guard import (
    PAUSED,
    ThawGuard,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.meeting import (
    Meeting,
    appointment_missed,
    boot_time,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.appointment import Stamps
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError

_RUNNING, _SHUTTING_DOWN = 1, 4  # virDomainState
_TRIES, _PAUSE = 5, 0.3
_LONGEST = 10.0  # seconds for which a VM by itself is suspended at most: libvirt needs a fraction of one
_WORDS = {1: "running", 3: "paused", 4: "shutting down", 5: "shut off", 6: "crashed", 7: "suspended by its guest"}


@contextmanager
def appointed(domain: Any, name: str, guard: ThawGuard, meeting: Meeting) -> Iterator[AbstractContextManager[None]]:
    """Arm the guard, wait for the group's other members here, and give what holds the VM.

    Raises ``appointment_missed``, or ``not_resumed`` where libvirt does not let it go on; then the guard still tries.
    """
    uuid = domain.UUIDString()
    with translated(name, "asking for its state"):
        ours = domain.state()[0] == _RUNNING  # one that somebody else has suspended is theirs to resume
    try:
        if ours:
            guard.arm_hold(uuid, meeting.seconds_left())
    except OSError as error:
        raise appointment_missed(name, str(error)) from error
    hold = _Hold(domain, name, meeting, ours)
    try:
        meeting.gather(name)
        hold.began = boot_time()  # a freeze comes first
        yield hold.held()
    finally:
        if ours and hold.goes_on:
            guard.disarm_hold(uuid)


@contextmanager
def suspended(domain: Any, name: str, guard: ThawGuard, unguarded: Callable[[str], None]) -> Iterator[None]:
    """Suspend a VM that runs for the block. Raises ``not_resumed`` where libvirt does not let it go on; the guard still tries.

    Where nobody would resume it in an emergency it is not suspended, and ``unguarded`` is told why.
    """
    uuid = domain.UUIDString()
    with translated(name, "asking for its state"):
        ours = domain.state()[0] == _RUNNING  # one that somebody else has suspended is theirs to resume
    try:
        if ours:
            guard.arm_hold(uuid, _LONGEST)
    except OSError as error:
        unguarded(str(error))
        ours = False
    if not ours:
        yield
        return
    try:
        with translated(name, "suspending it"):
            domain.suspend()
        yield
    finally:
        resume(domain, name)
        guard.disarm_hold(uuid)


class _Hold:
    """One VM that is held. ``goes_on`` is False as long as it may be suspended by this run."""

    def __init__(self, domain: Any, name: str, meeting: Meeting, ours: bool) -> None:
        self.goes_on = True
        self.began = boot_time()
        self._ours = ours
        self._domain = domain
        self._name = name
        self._meeting = meeting

    @contextmanager
    def held(self) -> Iterator[None]:
        """Suspend the VM where it runs, give the moment at which its disks are to be switched, and resume it in the end."""
        with translated(self._name, "asking for its state"):
            ours = self._ours and self._domain.state()[0] == _RUNNING
        try:
            if ours:
                self.goes_on = False
                with translated(self._name, "suspending it"):
                    self._domain.suspend()
            before = self._look()
            held = boot_time()
            self._meeting.cut(self._name, _why_not(before[0]))
            switched_from = boot_time()
            yield
            switched_to = boot_time()
            self._meeting.last()
            released = boot_time()
            disturbed = _difference(before, self._look())
            stamps = Stamps(self.began, held, switched_from, switched_to, released, disturbed)
            self._meeting.note(self._domain.UUIDString(), stamps)
        finally:
            if ours:
                resume(self._domain, self._name)
                self.goes_on = True

    def _look(self) -> tuple[int, Optional[list[int]]]:
        """Return its state, and for how long each of its CPUs has run, where libvirt tells: of a VM at rest that stays."""
        with translated(self._name, "asking for its state"):
            state = int(self._domain.state()[0])
            if state != PAUSED:
                return state, None
        try:
            return state, [cpu[2] for cpu in self._domain.vcpus()[0]]
        except libvirt.libvirtError:
            return state, None


def _why_not(state: int) -> str:
    return f" ({_WORDS[state]})" if state in (_RUNNING, _SHUTTING_DOWN) else ""


def _difference(before: tuple[int, Optional[list[int]]], after: tuple[int, Optional[list[int]]]) -> str:
    """Return what let a VM that was held go on meanwhile, "" where it stood still."""
    if before[0] in (_RUNNING, _SHUTTING_DOWN):
        return f"it was {_WORDS[before[0]]}"
    if before[0] != after[0]:
        return (
            f"somebody changed it from {_WORDS.get(before[0], before[0])} to {_WORDS.get(after[0], after[0])} meanwhile"
        )
    if before[1] is not None and after[1] is not None and before[1] != after[1]:
        return "somebody resumed it and suspended it again meanwhile"
    return ""


def resume(domain: Any, name: str) -> None:
    """Let a suspended VM go on. Raises ``not_resumed``."""
    said = ""
    for number in range(_TRIES):
        try:
            if domain.state()[0] == PAUSED:
                domain.resume()
            return
        except libvirt.libvirtError as error:
            said = str(error.get_error_message())
            time.sleep(_PAUSE * number)
    message = f"{name} is suspended: libvirt did not resume it ({said})."
    remedy = f"Look at libvirtd on the host, and resume the VM: virsh resume {name}. A process on the host also tries for a day."
    raise KvmError("not_resumed", message, remedy)
