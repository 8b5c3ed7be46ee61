# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether files can be written to and deleted, looked at before anything is: ``chattr +i``, read-only mounts and read-only
devices stop root too.
"""

from __future__ import annotations

import errno
import os
import shlex
from collections.abc import Iterable
from typing import Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.file_identity import (
    is_append_only,
    is_device,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.kernel_holders import (
    is_read_only,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.mounts import Mounts
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError

# Any other error may be one of ours alone: a server lets QEMU do what it does not let root do.
_NOBODY_MAY = (errno.EPERM, errno.EROFS)


def refuse_read_only(vm: str, written: Iterable[str], deleted: Iterable[str], mounts: Mounts) -> None:
    """Raise ``file_read_only`` where a file that is to be ``written`` or ``deleted`` can be neither."""
    going = sorted(set(deleted))
    for file in sorted({*written, *going}):
        why = _read_only(file)
        if why:
            raise _error(vm, file, why)
    for directory in sorted({os.path.dirname(file) for file in going if not is_device(file)}):
        # Of shared storage root may be told less than what QEMU may do.
        if os.path.isdir(directory) and not mounts.of(directory).shared and not _lets_delete(directory):
            raise _error(vm, directory, "nothing in it can be deleted")


def _read_only(file: str) -> Optional[str]:
    if is_device(file):
        return "the kernel has that device as read-only" if is_read_only(file) else None
    try:
        os.close(os.open(file, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as error:
        return error.strerror if error.errno in _NOBODY_MAY else None
    return None


def _lets_delete(directory: str) -> bool:
    return os.access(directory, os.W_OK | os.X_OK) and not is_append_only(directory)


def _error(vm: str, file: str, why: str) -> KvmError:
    quoted = shlex.quote(file)
    if is_device(file):
        return KvmError(
            "file_read_only",
            f"{file} of {vm} must be written to for this, and cannot be: {why}.",
            f"Nothing was changed. Find out who made it read-only (lsblk -o NAME,RO,TYPE {quoted}). Make it writable: blockdev "
            f"--setrw {quoted}, or, if it is a volume of LVM, lvchange -p rw {quoted}. Then run the task again.",
            file=file,
        )
    return KvmError(
        "file_read_only",
        f"{file} of {vm} must be changed for this, and cannot be: {why}.",
        f"Nothing was changed. Look at its attributes (lsattr -d {quoted}) and its file system (findmnt -T {quoted}). "
        f"Make it writable: chattr -i -a {quoted}, or mount that file system read-write. Then run the task again.",
        file=file,
    )
