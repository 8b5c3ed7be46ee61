# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Volumes of storage pools: only libvirt knows where they lie."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.libraries import (
    libvirt,
    parse,
)

_OF_FILES = ("dir", "fs", "netfs")  # pools whose volumes are files of a directory


def likely_path(connection: Any, pool: str, volume: str) -> Optional[str]:
    """Return where a volume of a pool that is not active lies by the pool's definition; None where nothing tells."""
    try:
        directory = target(parse(connection.storagePoolLookupByName(pool).XMLDesc(0)))
    except libvirt.libvirtError:
        return None
    return os.path.join(directory, volume) if directory else None


def directories(connection: Any) -> Iterator[str]:
    """Yield the directories of all pools whose volumes are files. Raises `libvirtError`."""
    for pool in connection.listAllStoragePools(0):
        try:
            root = parse(pool.XMLDesc(0))
        except libvirt.libvirtError:
            continue  # undefined at this very moment
        directory = target(root) if root.get("type") in _OF_FILES else None
        if directory:
            yield directory


def target(root: Any) -> Optional[str]:
    """Return the directory in which a pool's volumes lie, by its XML."""
    found = root.findtext("target/path")
    return str(found) if found else None
