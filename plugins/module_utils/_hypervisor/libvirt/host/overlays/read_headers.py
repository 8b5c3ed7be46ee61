# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading what lies in a directory: images with what they are based on, and VMs' saved memory with the images that it needs."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.any_format_backing import (
    UNREADABLE,
    backing_files,
    head_of,
    meant,
    names_in,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.file_identity import file_key
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.mounts import Mounts, in_time
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.overlays.image_directory import (
    Entry,
    Header,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.real_paths import real_path
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.users.saved_memory import (
    is_memory,
    read_memory,
)

# Beside disks, /dev has links to what is no storage (core, to /proc/kcore), and drives that a look would set in motion.
_NO_STORAGE = ("proc", "sysfs")
_FLOPPY, _CDROM = 2, 11  # majors, as the kernel's admin-guide/devices.txt has them
# A link to nothing, links in a circle, a device that nothing is behind.
_NOTHING_THERE = (errno.ENOENT, errno.ELOOP, errno.ENXIO, errno.ENODEV, errno.ENOMEDIUM)


class HeaderReader:
    """Reads headers for one run; a device that did not answer is not asked again."""

    def __init__(self, mounts: Mounts) -> None:
        self._mounts = mounts
        self._dead_devices: set[str] = set()

    def read(
        self, entries: Iterable[Entry], known: dict[str, Header], unread: list[str]
    ) -> Iterator[tuple[str, Header]]:
        """Yield the images among what lies in a directory by their real paths.

        ``unread`` is told of what is there and cannot be read: any of it may be an overlay.
        No file that a header names is opened: a raw disk's first bytes are its guest's, which may write there what it likes.
        """
        key_of = cache(file_key)  # thousands may be based on one

        def based_on(file: str, backing: tuple[str, ...]) -> tuple[Any, ...]:
            lost = [path for path in backing if key_of(path) is None]
            return (*backing, *filter(None, map(key_of, backing)), *meant(file, lost))

        for entry in entries:
            before = known.get(entry.path)
            try:
                if self._may_be_image(entry):
                    # What is written to a device changes no time of its node.
                    device = stat.S_ISBLK(entry.stat().st_mode)
                    changed = None if device else entry.stat().st_mtime_ns
                    if before and not device and (before.inode, before.changed) == (entry.inode(), changed):
                        # The path may lead to another file by now.
                        named = based_on(entry.path, before.backing)
                        yield entry.path, before if named == before.based_on else replace(before, based_on=named)
                    else:
                        file, read, memory = self._read(entry, device)
                        backing = tuple(map(real_path, read))
                        yield file, Header(entry.inode(), changed, backing, based_on(file, backing), memory)
            except OSError as error:
                if error.errno not in _NOTHING_THERE:
                    unread.append(entry.name)
            except UNREADABLE:
                continue  # no header that QEMU would take

    def _read(self, entry: Entry, device: bool) -> tuple[str, list[str], bool]:
        """Return an image's real path and what its header names, and whether it is a VM's saved memory instead.

        A relative name is meant beside a link to the image. Where that is another file, the image is known by the link.
        """
        file = real_path(entry.path) if entry.is_symlink() else entry.path
        if device:
            return file, self._backing_of_device(file), False
        head = head_of(file)
        if is_memory(head):
            return file, list(read_memory(file).images), True
        read = names_in(file, head)
        beside_link = backing_files(entry.path) if file != entry.path else read
        return (file, read, False) if beside_link == read else (entry.path, beside_link, False)

    def _may_be_image(self, entry: Entry) -> bool:
        if entry.is_symlink() and self._mounts.of(os.path.realpath(entry.path)).kind in _NO_STORAGE:
            return False
        found = entry.stat()
        if stat.S_ISBLK(found.st_mode):
            return os.major(found.st_rdev) not in (_FLOPPY, _CDROM)
        return stat.S_ISREG(found.st_mode)

    def _backing_of_device(self, device: str) -> list[str]:
        """Read a block device's header; one that is dead (a lost LUN) would block whoever reads it."""
        if device not in self._dead_devices:
            self._dead_devices.add(device)
            backing = in_time(lambda: backing_files(device))
            self._dead_devices.remove(device)
            return backing
        raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
