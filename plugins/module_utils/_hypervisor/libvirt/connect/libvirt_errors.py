# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Turning libvirt's errors into ours: by code first, text only as a hint."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.libraries import libvirt
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.refusals import libvirt_error, vm_gone
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.taking.memory import MEMORY_HINTS, memory_blocked
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError

# virterror.h; written out since old bindings lack some of the names.
_INTERNAL_ERROR, _RPC, _NO_CONNECT, _INVALID_ARG, _SYSTEM_ERROR = 1, 39, 5, 8, 38
AUTH = (29, 45, 79, 88, 94)  # operation denied, authentication failed, cancelled, access denied, unavailable
_NO_DOMAIN, _OPERATION_INVALID, _OPERATION_TIMEOUT, NO_SNAPSHOT = 42, 55, 68, 72


@contextmanager
def translated(vm: str, doing: str) -> Iterator[None]:
    """Turn any `libvirtError` of the block into a `KvmError` that says what was being done to which VM."""
    try:
        yield
    except libvirt.libvirtError as error:
        raise from_libvirt(error, vm, doing) from error


def from_libvirt(error: Any, vm: str, doing: str) -> KvmError:
    """Return our error for one of libvirt's."""
    code, text = error.get_error_code(), text_of(error)
    details = {"libvirt_code": code, "libvirt_message": text}
    if code == _NO_DOMAIN:
        return vm_gone(vm, text, **details)
    if code == _OPERATION_INVALID and any(hint in text for hint in MEMORY_HINTS):
        return memory_blocked(
            vm,
            (text,),
            "libvirt refused it after it had paused the guest for a moment. Nothing was changed.",
            foreseen=False,
        )
    if code in AUTH:
        remedy = "Run the task as root: become: true."
        return KvmError("permission_denied", f"libvirt forbids it for {vm}, while {doing}: {text}.", remedy, **details)
    if code == _OPERATION_TIMEOUT:
        remedy = "Run the task again when the other operation (migration, backup, block job) has ended."
        return KvmError("busy", f"{vm} is busy with another operation, while {doing}: {text}.", remedy, **details)
    if code == _RPC or (code in (_INTERNAL_ERROR, _SYSTEM_ERROR) and _connection_lost(text)):
        remedy = "libvirt's daemon ended or was restarted. Run the task again: it looks at what is there first."
        return KvmError(
            "connection_lost", f"The connection to libvirt was lost for {vm}, while {doing}: {text}.", remedy, **details
        )
    return libvirt_error(vm, doing, code, text)


def _connection_lost(text: str) -> bool:
    return any(hint in text for hint in ("client socket is closed", "End of file", "Broken pipe", "reset by peer"))


def text_of(error: Any) -> str:
    """Return what libvirt said, without a full stop."""
    return str(error.get_error_message() or error).strip().rstrip(".")
