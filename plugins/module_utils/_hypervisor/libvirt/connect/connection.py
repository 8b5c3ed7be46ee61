# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Opening libvirt, and turning its errors into ours: by code first, text only as a hint."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Callable, TypeVar
from urllib.parse import urlsplit

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.library import libvirt
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.refusals import libvirt_error, vm_gone
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.taking.memory import MEMORY_HINTS, memory_blocked
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.deadline import within
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError

# virterror.h; written out since old bindings lack some of the names.
_INTERNAL_ERROR, _RPC, _NO_CONNECT, _INVALID_ARG, _SYSTEM_ERROR = 1, 39, 5, 8, 38
_AUTH = (29, 45, 79, 88, 94)  # operation denied, authentication failed, cancelled, access denied, unavailable
_NO_DOMAIN, _OPERATION_INVALID, _OPERATION_TIMEOUT, NO_SNAPSHOT = 42, 55, 68, 72
_OPEN_SECONDS = 30
_READS = 20  # of snapshots that others remove meanwhile, one after another and each slower than a read

Answer = TypeVar("Answer")


def open_connection(uri: str) -> Any:
    """Open a connection to this host's own libvirt. Raises ``bad_uri``, ``connection_failed``, ``permission_denied``."""
    _check_uri(uri)
    # Without a handler of ours libvirt prints every error to stderr, into the middle of Ansible's output.
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    try:
        # A daemon that hangs accepts a connection and never answers: libvirt would wait for ever.
        return within(_OPEN_SECONDS, lambda: libvirt.open(uri))
    except TimeoutError:
        raise _hanging(uri) from None
    except libvirt.libvirtError as error:
        raise _connection_error(uri, error) from error


def _hanging(uri: str) -> KvmError:
    remedy = "Nothing was changed. Look at the log of libvirtd (or virtqemud), and restart it: the VMs go on running."
    message = f"libvirt at {uri} accepts connections, but has not answered for {_OPEN_SECONDS} seconds."
    return KvmError("connection_failed", message, remedy)


def _check_uri(uri: str) -> None:
    parts = urlsplit(uri)
    if parts.scheme == "qemu" and parts.path in ("/system", "/session") and not parts.netloc:
        return
    message = f"The libvirt URI {uri!r} is not that of QEMU on this host."
    remedy = "Nothing was changed. Give qemu:///system or qemu:///session, and run the module on the hypervisor itself."
    raise KvmError("bad_uri", message, remedy)


def _connection_error(uri: str, error: Any) -> KvmError:
    text = _text(error)
    denied = error.get_error_code() in _AUTH or error.get_int1() in (errno.EACCES, errno.EPERM)
    if denied or "Permission denied" in text:
        # Not the group libvirt: its members may not read the images, nor write this collection's records.
        remedy = "Nothing was changed. Run the task as root: become: true."
        return KvmError("permission_denied", f"The user may not use libvirt at {uri}: {text}.", remedy)
    remedy = (
        "Nothing was changed. Start libvirt: systemctl start libvirtd (or virtqemud), or rc-service libvirtd start."
    )
    return KvmError("connection_failed", f"libvirt at {uri} cannot be reached: {text}.", remedy)


def read_again(read: Callable[[], Answer]) -> Answer:
    """Return what ``read`` reads of a domain's snapshots. Raises `libvirtError`.

    A list and the look at each that is in it are not one moment: where one went away in between, all is read again.
    """
    for _try in range(_READS - 1):
        try:
            return read()
        except libvirt.libvirtError as error:
            if error.get_error_code() != NO_SNAPSHOT:
                raise
    return read()


def snapshot_texts(native: Any, flags: int = 0) -> list[str]:
    """Return the XML of each snapshot of a domain. Raises `libvirtError`."""
    return read_again(lambda: [one.getXMLDesc(flags) for one in native.listAllSnapshots(0)])


@contextmanager
def translated(vm: str, doing: str) -> Iterator[None]:
    """Turn any `libvirtError` of the block into a `KvmError` that says what was being done to which VM."""
    try:
        yield
    except libvirt.libvirtError as error:
        raise from_libvirt(error, vm, doing) from error


def from_libvirt(error: Any, vm: str, doing: str) -> KvmError:
    """Return our error for one of libvirt's."""
    code, text = error.get_error_code(), _text(error)
    details = {"libvirt_code": code, "libvirt_message": text}
    if code == _NO_DOMAIN:
        return vm_gone(vm, text, **details)
    if code == _OPERATION_INVALID and any(hint in text for hint in MEMORY_HINTS):
        return memory_blocked(
            vm, (text,), "libvirt refused it after it had paused the guest for a moment. Nothing was changed."
        )
    if code in _AUTH:
        remedy = "Run the task as root: become: true."
        return KvmError("permission_denied", f"libvirt forbids it for {vm}, while {doing}: {text}.", remedy, **details)
    if code == _OPERATION_TIMEOUT:
        remedy = "Run the task again when the other operation (migration, backup, block job) has ended."
        return KvmError("busy", f"{vm} is busy with another operation, while {doing}: {text}.", remedy, **details)
    if code == _RPC or (code in (_INTERNAL_ERROR, _SYSTEM_ERROR) and _connection_lost(text)):
        remedy = "Its daemon ended or was restarted. Run the task again: it looks at what is there first."
        return KvmError("connection_lost", f"libvirt went away for {vm}, while {doing}: {text}.", remedy, **details)
    return libvirt_error(vm, doing, code, text)


def _connection_lost(text: str) -> bool:
    return any(hint in text for hint in ("client socket is closed", "End of file", "Broken pipe", "reset by peer"))


def _text(error: Any) -> str:
    return str(error.get_error_message() or error).strip().rstrip(".")
