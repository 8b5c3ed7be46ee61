# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What lies on disk for a VM: chains as the files tell them, held against libvirt's word, and overlays nobody knows.

Trouble is reported and never raised: this is what an operator looks at when something is broken.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.limiquantix.kvm.plugins.module_utils._backend.libvirt._domain_xml import Disk, disks, parse
from ansible_collections.limiquantix.kvm.plugins.module_utils._backend.libvirt._host_files import (
    UNREADABLE,
    HostFiles,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._backend.libvirt._images import Image, read_image
from ansible_collections.limiquantix.kvm.plugins.module_utils._names import file_name
from ansible_collections.limiquantix.kvm.plugins.module_utils._snapshot import (
    ChainLayer,
    DiskChain,
    Storage,
    VirtualMachine,
)

_MOST_LAYERS = 200  # libvirt's own limit for a chain
# An overlay with such an ending was named by a person or a cloning tool; libvirt's own end in the snapshot's name.
_IMAGE_ENDINGS = (".qcow2", ".qcow", ".img", ".raw")


@dataclass(frozen=True)
class _Chain:
    """A disk's chain as far as it can be read, and why it ends before its end ("" where it does not)."""

    disk: Disk
    images: tuple[Image, ...]
    cut: str


def read_storage(vm: VirtualMachine, native: Any, connection: Any, host_files: HostFiles) -> Storage:
    """Return what lies on disk for the VM. Raises nothing but libvirt's own errors."""
    domain = parse(native.XMLDesc(0))
    defined = parse(native.XMLDesc(2)) if vm.active and vm.persistent else domain
    chains = [_read(disk) for disk in disks(domain) if disk.source and disk.device in ("disk", "lun")]
    owners = {
        os.path.realpath(disk.file): snapshot.name for snapshot in vm.snapshots for disk in snapshot.disks if disk.file
    }
    unknown = _unknown_layers(vm, chains, set(owners))
    if unknown:
        # Rarely come to: an overlay made by a revert is named where only few snapshots have an entry.
        reverted = set(_reverted(native))
        unknown = _unknown_layers(vm, chains, {*owners, *reverted})
    strangers = _strangers(vm, chains, {*owners, *unknown}, connection, host_files)
    return Storage(
        chains=tuple(_to_chain(chain, owners) for chain in chains),
        unknown_overlays=(*unknown, *strangers),
        problems=(*(text for chain in chains for text in _problems(vm, chain)), *_other_definition(domain, defined)),
    )
