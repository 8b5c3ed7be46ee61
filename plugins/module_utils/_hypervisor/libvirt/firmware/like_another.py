# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A new file that QEMU and swtpm may use just as the one that it takes the place of."""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import suppress

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.firmware.state_file import (
    reserve,
    write,
)

_LABELS = ("security.", "system.posix_acl", "trusted.libvirt.", "user.")


def make_like(file: str, content: bytes, like: str) -> None:
    """Make a file with the owner, mode and labels of another one; a file of that name is what a killed run left.

    Where there is no other one, libvirt gives it to whoever needs it as the VM starts.
    """
    remove(file)
    reserve(file)
    if os.path.exists(like):
        status = os.stat(like)
        os.chown(file, status.st_uid, status.st_gid)
        os.chmod(file, status.st_mode & 0o7777)
        _label_like(file, os.listxattr(like), like)
    write(file, content)


def remove(file: str) -> None:
    """Remove a file, if it is there."""
    with suppress(FileNotFoundError):
        os.unlink(file)


def _label_like(file: str, names: Collection[str], like: str) -> None:
    for name in names:
        if name.startswith(_LABELS):
            with suppress(OSError):  # libvirt labels it again as the VM starts
                os.setxattr(file, name, os.getxattr(like, name))
