# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the agent says of a failure, in our words: it has no codes, so its text is all there is to go by."""

from __future__ import annotations

import shlex
from typing import Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.qx_node.http_client import QxNodeError
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.refusals import agent_unavailable, vm_gone
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.taking.memory import MEMORY_HINTS, memory_blocked
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError

_NO_SNAPSHOT_HINTS = ("snapshot not found", "no domain snapshot")
_NO_VM_HINTS = ("failed to get domain", "domain not found", "no domain with matching", "vm not found")
_AGENT_HINTS = ("guest agent", "qemu-agent")
_THERE_HINTS = ("already exists",)


def translated(failure: QxNodeError, vm: str, include_memory: bool = False) -> KvmError:
    """Return the error that is meant, with the agent's own message and details in it; the failure itself by default."""
    text = failure.text.lower()
    found: KvmError = failure
    if any(hint in text for hint in MEMORY_HINTS):
        found = _memory(failure, vm, include_memory)
    elif _has(text, _AGENT_HINTS):
        found = agent_unavailable(vm, failure.text)
    elif _has(text, _NO_SNAPSHOT_HINTS):
        found = KvmError(
            "snapshot_not_found",
            f"{vm} does not have that snapshot any more: {failure.text}.",
            "Somebody removed it meanwhile. Run the task again: it looks at what is there first.",
        )
    elif _has(text, _NO_VM_HINTS) or (failure.status == 404 and not text):
        found = vm_gone(vm, failure.text)
    elif _has(text, _THERE_HINTS):
        found = KvmError(
            "busy",
            f"Somebody else took a snapshot of that name of {vm} meanwhile: {failure.text}.",
            "Run the task again: it looks at what is there first.",
        )
    found.details = {**failure.details, **found.details}
    return found


def of_revert(failure: QxNodeError, vm: str, name: str) -> Optional[KvmError]:
    """Return the error where the host's libvirt cannot revert to a disk-only snapshot by itself, as before 9.9; else None."""
    if "external" not in failure.text.lower() or "not supported" not in failure.text.lower():
        return None
    words = f"vm={shlex.quote(vm)} name={shlex.quote(name)} state=reverted backend=libvirt"
    found = KvmError(
        "agent_error",
        f"qx-node left the revert of {vm} to snapshot {name!r} to the host's libvirt, which cannot do it: {failure.text}.",
        "Nothing was changed. This collection can do it over the libvirt of that host: ansible HOST --become -m "
        f"limiquantix.kvm.vm_snapshot -a {shlex.quote(words)}",
    )
    found.details = dict(failure.details)
    return found


def _memory(failure: QxNodeError, vm: str, include_memory: bool) -> KvmError:
    if include_memory:
        return memory_blocked(vm, (failure.text,), "qx-node refused it after it had paused the guest for a moment.")
    return KvmError(
        "agent_outdated",
        f"qx-node tried to save the memory of {vm} although a disk-only snapshot was asked for: {failure.text}.",
        "No snapshot was taken. Its version is too old: deploy a newer one with "
        "limiquantix.kvm.deploy_agent, or use backend: libvirt.",
    )


def _has(text: str, hints: tuple[str, ...]) -> bool:
    return any(hint in text for hint in hints)
