# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A request that changes something and has no usable answer: look what became of it, and never send it again."""

from __future__ import annotations

import time
from typing import Callable

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.qx_node.http_client import InDoubtError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError

LOOK_SECONDS = 4.0  # for one look; three of them and the pauses stay within what a task's threads are given
_LOOKS = 3
_PAUSE = 1.0
_INFO = "vm_snapshot_info (or virsh snapshot-list on the host)"


def was_done(look: Callable[[], bool], doubt: InDoubtError, what: str) -> str:
    """Return a note where ``look`` finds the work done; raise what an operator must know where it does not.

    ``what`` is the work and its VM: "taking snapshot 's' of web01".
    """
    if _look(look, doubt, what):
        return f"{doubt.message} The module looked: {what} was done"
    if doubt.silent:
        raise unknown(doubt, what, "qx-node may still be at work on it.")
    code = "connection_lost" if doubt.error_code == "agent_unreachable" else doubt.error_code
    raise KvmError(
        code,
        f"{doubt.message} The module looked: {what} was not done, or not yet.",
        f"It was not tried again. Look with {_INFO} in a minute. You can safely run the task again: it looks first.",
        **doubt.details,
    )


def unknown(doubt: KvmError, what: str, why: str, look: str = f"Look with {_INFO}") -> KvmError:
    """Return the error for work of which nobody can say whether it was done; ``look`` says what would show it."""
    return KvmError(
        "outcome_unknown",
        f"Nobody knows whether {what} was done: {doubt.message} {why}".rstrip(),
        f"It was not tried again. {look} and in qx-node's log before the next run.",
        **doubt.details,
    )


def _look(look: Callable[[], bool], doubt: InDoubtError, what: str) -> bool:
    """Look a few times: the agent may be about to end, or to start again."""
    blind = None
    for number in range(_LOOKS):
        if number:
            time.sleep(_PAUSE)
        try:
            if look():
                return True
            blind = None
        except KvmError as error:
            blind = error
    if blind:
        raise unknown(doubt, what, f"Looking failed too: {blind.message}") from blind
    return False


def unverified(what: str, error: KvmError) -> KvmError:
    """Return the error for work that the agent calls done, and that could not be looked at then."""
    message = f"qx-node said that {what} was done, but could not be asked whether it is there: {error.message}"
    remedy = "Nothing was tried twice. Look with vm_snapshot_info when qx-node answers again."
    return KvmError("outcome_unknown", message, remedy, **error.details)
