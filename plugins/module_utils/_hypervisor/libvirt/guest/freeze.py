# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Freezing a guest's file systems around a snapshot, and thawing them whatever happens."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.libraries import (
    libvirt,
    parse,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.guest.thaw_guard import ThawGuard
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.taking.freeze import Freeze, thaw_failed
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError

_BLOCK = -2  # VIR_DOMAIN_AGENT_RESPONSE_TIMEOUT_BLOCK: wait for ever, libvirt's own default
SILENT = (86, 97, 112)  # virterror.h: agent unresponsive, unsynced, command timeout (since 11.2)
_PROBE_SECONDS = 5
_STATUS = "/run/libvirt/qemu/{}.xml"
_THAW_TRIES = 3
_NOT_RUNNING = 55  # VIR_ERR_OPERATION_INVALID: "domain is not running"
# qemu-ga refuses every command but thaw and status while frozen: the freeze is somebody else's. There is no code for it.
_FROZEN_ALREADY = ("has been disabled", "not allowed", "frozen")


@contextmanager
def frozen(domain: Any, name: str, guard: ThawGuard, seconds: int) -> Iterator[Freeze]:
    """Freeze for the block, at most ``seconds``. Inside, ``held`` says whether the freeze succeeded;
    afterwards, whether it lasted: a guest that thawed by itself meanwhile (Windows after 10 s) was not quiesced.
    """
    freeze = Freeze()
    own_timeout = agent_timeout(name)
    uuid = domain.UUIDString()
    started = time.monotonic()
    ours = True
    try:
        guard.arm(uuid, seconds, own_timeout)
    except OSError as error:
        freeze.reason = str(error)
        yield freeze
        return
    try:
        ours = _answers(domain, seconds, freeze) and _freeze(domain, seconds, freeze)
        yield freeze
    finally:
        if ours:
            _thaw(domain, freeze)
        if freeze.held and time.monotonic() - started > seconds:
            _lose(freeze, f"the freeze reached its limit of {seconds} seconds")
        put_back_timeout(domain, own_timeout)
        if not freeze.still_frozen:
            guard.disarm(uuid)


def _answers(domain: Any, seconds: int, freeze: Freeze) -> bool:
    """Return whether the agent answers at all: a freeze asked of a silent one could come at any time later.

    The time is what it is asked for, since that taints no domain; any answer will do, a refusal too.
    """
    try:
        domain.agentSetResponseTimeout(min(seconds, _PROBE_SECONDS), 0)
        domain.getTime(0)
    except libvirt.libvirtError as error:
        if error.get_error_code() in SILENT:
            freeze.reason = f"the guest agent does not answer: {error.get_error_message()}"
            return False
    return True


def _freeze(domain: Any, seconds: int, freeze: Freeze) -> bool:
    """Return whether there may be a freeze of ours to end, also after an error: the agent may be late."""
    try:
        domain.agentSetResponseTimeout(seconds, 0)
        frozen_count = domain.fsFreeze()
    except libvirt.libvirtError as error:
        text = str(error.get_error_message())
        freeze.reason = f"the guest agent did not freeze: {text}"
        not_asked = error.get_error_code() == _NOT_RUNNING  # suspended just before
        return not (not_asked or any(hint in text for hint in _FROZEN_ALREADY))
    freeze.held = frozen_count > 0
    if not freeze.held:
        freeze.reason = "the guest agent found no file system to freeze"
    return True


def _thaw(domain: Any, freeze: Freeze) -> None:
    said = ""
    for number in range(_THAW_TRIES):
        try:
            thawed = domain.fsThaw()
        except libvirt.libvirtError as error:
            said = str(error.get_error_message())
            time.sleep(0.2 * (number + 1))
        else:
            if freeze.held and thawed == 0:
                _lose(freeze, "the guest thawed before the snapshot was complete")
            return
    _lose(freeze, f"the guest agent did not answer when it was asked to thaw: {said}")
    freeze.still_frozen = True


def _lose(freeze: Freeze, reason: str) -> None:
    freeze.held = False
    freeze.reason = reason


def agent_timeout(name: str) -> int:
    """Return the domain's agent time limit: no call reads it, libvirt's status file has it (where it is readable)."""
    try:
        with open(_STATUS.format(name), encoding="utf-8") as file:
            found = parse(file.read()).findtext(".//agentTimeout")
    except (OSError, ValueError):
        found = None
    return int(found) if found else _BLOCK


def put_back_timeout(domain: Any, seconds: int) -> None:
    """Give a domain its own agent time limit again."""
    with suppress(libvirt.libvirtError):  # the VM has ended, or libvirtd is restarting
        domain.agentSetResponseTimeout(seconds, 0)


def guest_still_frozen(vm: str) -> KvmError:
    """Return the error of a guest whose thaw was not seen."""
    remedy = f"Thaw it: virsh domfsthaw {vm}. A process on the host also tries for ten minutes."
    return thaw_failed(vm, remedy)


def with_frozen_guest(error: KvmError, vm: str, freeze: Freeze) -> KvmError:
    """A guest that may still be frozen is worse news than why the snapshot failed: say both."""
    if not freeze.still_frozen:
        return error
    worse = guest_still_frozen(vm)
    return KvmError(worse.error_code, f"{error.message} {worse.message}", worse.remedy, **error.details)
