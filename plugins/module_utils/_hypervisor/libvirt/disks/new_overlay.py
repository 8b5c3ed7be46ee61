# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Making an empty overlay, and giving it the access that QEMU needs and nobody else has."""

from __future__ import annotations

import os
import subprocess

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.qemu_user import QemuUser
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.refusals import (
    overlay_dir_unusable,
    overlay_failed,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.plan import Room

_PRIVATE = 0o600


def create_overlay(
    overlay: str, backing: str, backing_format: str, virtual_size: int, user: QemuUser | None = None
) -> None:
    """Make an empty qcow2 overlay, for nobody but who has ``backing`` (see `_access`). Raises ``overlay_failed``.

    ``-u`` leaves the backing image unopened: a running VM holds a lock on it.
    """
    try:
        # Exclusive, and closed to others from its first moment (CVE-2025-13193 is libvirt's 0644).
        descriptor = os.open(overlay, os.O_CREAT | os.O_EXCL | os.O_WRONLY, _PRIVATE)
    except OSError as error:
        raise overlay_failed(overlay, error.strerror) from error
    try:
        uid, gid, mode = _access(backing, user)
        os.fchown(descriptor, uid, gid)
        os.fchmod(descriptor, mode)
        options = f"backing_file={_escaped(backing)},backing_fmt={backing_format}"
        command = ["qemu-img", "create", "-q", "-u", "-f", "qcow2", "-o", options, overlay, str(virtual_size)]
        # There is no AnsibleModule below main(), and so none of its run_command.
        # pylint: disable-next=ansible-bad-function
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        os.unlink(overlay)
        said = getattr(error, "stderr", None) or str(error)
        raise overlay_failed(overlay, said.strip()) from error
    finally:
        os.close(descriptor)


def own_like(overlay: str, backing: str, user: QemuUser | None = None) -> None:
    """Give an overlay that libvirt made the access that `_access` tells."""
    uid, gid, mode = _access(backing, user)
    found = os.stat(overlay)
    if (found.st_uid, found.st_gid) != (uid, gid):
        os.chown(overlay, uid, gid)
    if found.st_mode & 0o777 != mode:
        os.chmod(overlay, mode)


def _access(backing: str, user: QemuUser | None) -> tuple[int, int, int]:
    """Return owner, group and mode of an overlay: QEMU's user has the rights it had on the base, and nobody else any.

    ``user`` is named where libvirt does not give images to QEMU: there it may have had its rights as one of a group, or as
    anybody. Elsewhere libvirt sees to it at the VM's start, whoever the owner is until then.
    """
    status = os.stat(backing)
    if user is None or user.uid == status.st_uid:
        return status.st_uid, status.st_gid, _PRIVATE
    return user.uid, status.st_gid, (user.bits(status) & 6) << 6


def _escaped(text: str) -> str:
    """A comma separates qemu-img's options, and is doubled inside one."""
    return text.replace(",", ",,")


def room(directory: str) -> Room:
    """Return what is free where new overlays are to lie. Raises ``overlay_dir_unusable``."""
    try:
        status, filesystem = os.statvfs(directory), os.stat(directory).st_dev
    except OSError as error:
        raise overlay_dir_unusable(directory, str(error.strerror)) from error
    if not os.path.isdir(directory):
        raise overlay_dir_unusable(directory, "it is not a directory")
    if status.f_flag & os.ST_RDONLY or not os.access(directory, os.W_OK | os.X_OK):
        raise overlay_dir_unusable(directory, "it cannot be written")
    return Room(str(filesystem), status.f_blocks * status.f_frsize, status.f_bavail * status.f_frsize)
