# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Memory of VMs that lies in a file: libvirt's managed saves and snapshots name theirs, one of ``virsh save`` is named by nobody.

It goes with the disks as they were at that moment. Once somebody has written to these since, it is of no use to anybody.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.libraries import etree
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host import user_sessions as sessions
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.file_identity import file_key
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.user_sessions import saved_xml
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.named_files import (
    named_files,
    named_volumes,
)

DIRECTORY = "/var/lib/libvirt/qemu/save"  # libvirt's own, for managed saves
_MAGIC = b"Libv"  # LibvirtQemudSave, and LibvirtQemudPart as long as it is being written
_CLOSING = 2 * 10**9  # ns in which QEMU may still have written to its images after the memory


@dataclass(frozen=True)
class SavedMemory:
    """The memory of a VM, by its name and UUID; ``images`` are all that its disks have, ``active`` those that they write to."""

    file: str
    vm: str
    uuid: str
    images: tuple[str, ...]
    active: tuple[str, ...]

    def __str__(self) -> str:
        return f"the memory of VM {self.vm} that was saved in {self.file}"

    def is_on(self, file: str) -> bool:
        """Whether the VM was writing to an image."""
        return file_key(file) in set(filter(None, map(file_key, self.active)))


def is_memory(head: bytes) -> bool:
    """Whether a file that begins so is a VM's saved memory."""
    return head.startswith(_MAGIC)


def read_memory(file: str) -> SavedMemory:
    """Read whose memory a file is. Raises `OSError` and `ValueError`."""
    with open(file, "rb") as stream:
        text = saved_xml(stream.read(sessions.SAVED_HEAD))
    try:
        root = etree.fromstring(text)
    except etree.XMLSyntaxError as error:
        raise ValueError(f"{file} has no VM in it: {error}") from error
    named = [(one.path, one.writes) for one in named_files(root) if one.image]
    volumes = list(named_volumes(root))
    pools = sessions.SessionPools() if volumes else None
    for volume in volumes:
        path = pools.path(sessions.SYSTEM, volume.pool, volume.volume) if pools else None
        named += [(path, volume.writes)] if path else []
    return SavedMemory(
        file,
        root.findtext("name") or "",
        root.findtext("uuid") or "",
        tuple(dict.fromkeys(path for path, _writes in named)),
        tuple(dict.fromkeys(path for path, writes in named if writes)),
    )


def still_of_use(files: Iterable[str]) -> Iterator[SavedMemory]:
    """Yield the memory in files that its VM could go on from: its disks are there, and nobody has written to them since."""
    for file in files:
        with suppress(OSError, ValueError):
            memory, saved_at = read_memory(file), os.stat(file).st_mtime_ns
            status = [os.stat(image) for image in memory.active]
            # What is written to a device changes no time of its node.
            if all(stat.S_ISBLK(one.st_mode) or one.st_mtime_ns <= saved_at + _CLOSING for one in status):
                yield memory
