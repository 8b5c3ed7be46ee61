# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The clock of a guest whose saved memory was loaded: set through its agent, or told as being behind."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.libraries import libvirt
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.guest.freeze import (
    SILENT,
    agent_timeout,
    put_back_timeout,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.devices import has_agent_channel
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.guest_clock import clock_foreseen, clock_note

_SECONDS = 20  # an agent whose memory was just loaded needs a moment, on a busy host more than one
_ANSWER_SECONDS = 5
_PAUSE = 0.3
_CLOSE = 2.0  # seconds


def set_clock(domain: Any, name: str) -> str:
    """Set a running guest's clock to the host's; return "" where it is right now, else why it is not.

    What counts is the time that the guest tells: an agent whose hwclock(8) fails has set the time, and answers with an error.
    Without that program it sets nothing (Debian 13 has it in util-linux-extra).
    """
    timeout, end = agent_timeout(name), time.monotonic() + _SECONDS
    try:
        while True:
            answers, said, asked = True, "it tells another time still", time.monotonic()
            try:
                domain.agentSetResponseTimeout(_ANSWER_SECONDS, 0)
                domain.setTime({"seconds": int(time.time()), "nseconds": 0}, 0)
            except libvirt.libvirtError as error:
                answers = error.get_error_code() not in SILENT
                said = f"the guest agent did not set it ({error.get_error_message()})"
            with suppress(libvirt.libvirtError):
                if abs(domain.getTime(0)["seconds"] - time.time()) < _CLOSE:
                    return ""
            late = time.monotonic() - asked > _CLOSE  # on a busy host: what it was given had passed when it was set
            if (answers and not late) or time.monotonic() > end:
                return said
            time.sleep(_PAUSE)
    finally:
        put_back_timeout(domain, timeout)


def clock_set(vm: str, domain: Any, definition: Any, since: str, power: str) -> tuple[str, ...]:
    """Set the clock of a VM that has gone on from memory; tell where that failed, and the plan has not told it."""
    if clock_foreseen(vm, since, power, has_agent_channel(definition)):
        return ()
    why = set_clock(domain, vm)
    return (clock_note(vm, since, why),) if why else ()
