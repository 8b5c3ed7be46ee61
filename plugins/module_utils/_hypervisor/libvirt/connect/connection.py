# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Opening libvirt, and reading lists that others change meanwhile."""

from __future__ import annotations

import errno
from typing import Any, Callable, TypeVar
from urllib.parse import urlsplit

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.libraries import libvirt
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.libvirt_errors import (
    AUTH,
    NO_SNAPSHOT,
    text_of,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.deadline import within
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError

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
    text = text_of(error)
    denied = error.get_error_code() in AUTH or error.get_int1() in (errno.EACCES, errno.EPERM)
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
