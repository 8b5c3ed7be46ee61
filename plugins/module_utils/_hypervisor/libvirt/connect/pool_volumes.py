# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Volumes of storage pools, which a domain's XML names by pool and name: looked up once where that XML is read.

A ``<source>`` that is resolved gets the path as if it were a file's or a block device's, and a mark. Whoever writes XML back
takes both off it first (`unresolved`), so that a volume stays one as long as its disk stays on it. Libvirt itself makes it a
file at a take and a volume again at a pivot (measured on 7.0, 9.0 and 11.3).
"""

from __future__ import annotations

import copy
import os
import stat
from collections.abc import Iterator
from typing import Any, Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.libraries import (
    etree,
    libvirt,
    parse,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.devices import RESOLVED, UNRESOLVED

_NO_POOL, _NO_VOLUME = 49, 50  # VIR_ERR_NO_STORAGE_POOL, VIR_ERR_NO_STORAGE_VOL


def read_domain(native: Any, flags: int = 0) -> Any:
    """Return a domain's XML, its volumes resolved. Raises `libvirtError`."""
    return _resolved(parse(native.XMLDesc(flags)), native.connect)


def read_snapshot(native: Any, flags: int = 0) -> Any:
    """Return a snapshot's XML, the volumes of the domains in it resolved. Raises `libvirtError`."""
    return _resolved(parse(native.getXMLDesc(flags)), native.getConnect)


def parse_of(native: Any, text: str) -> Any:
    """Return the root element of XML about a domain, its volumes resolved. Raises `libvirtError`."""
    return _resolved(parse(text), native.connect)


def _resolved(root: Any, connection: Any) -> Any:
    if next(_volumes(root), None) is not None:
        resolve_volumes(connection(), root)
    return root


def resolve_volumes(connection: Any, root: Any) -> None:
    """Give every volume within an element its path, or the reason why it has none. Never raises for what is not there."""
    for source in _volumes(root):
        pool, volume = str(source.get("pool")), str(source.get("volume"))
        path, reason = _look_up(connection, pool, volume)
        if path is None:
            source.set(UNRESOLVED, reason)
            continue
        block = _is_device(path)
        source.set(RESOLVED, "block" if block else "file")
        source.set("dev" if block else "file", path)


def unresolved(root: Any) -> str:
    """Return XML as libvirt gave it, volumes by their pools' names again."""
    plain = copy.deepcopy(root)
    for source in plain.iter("source"):
        if source.attrib.pop(RESOLVED, None):
            source.attrib.pop("file", None)
            source.attrib.pop("dev", None)
        source.attrib.pop(UNRESOLVED, None)
    return str(etree.tostring(plain, encoding="unicode"))


def volume_path(connection: Any, pool: str, volume: str) -> Optional[str]:
    """Return the path of a volume, None where it cannot be known: only an active pool tells, and not every kind."""
    return _look_up(connection, pool, volume)[0]


def _volumes(root: Any) -> Iterator[Any]:
    for source in root.iter("source"):
        # Of an iSCSI pool in this mode QEMU is the initiator: there is no device on the host.
        if source.get("pool") and source.get("volume") and source.get("mode") != "direct":
            yield source


def _look_up(connection: Any, pool: str, volume: str) -> tuple[Optional[str], str]:
    try:
        path = connection.storagePoolLookupByName(pool).storageVolLookupByName(volume).path()
    except libvirt.libvirtError as error:
        return None, _why(error, pool, volume)
    if not path or not os.path.isabs(path):
        return None, f"volume {volume} of pool {pool} is not a file or block device of this host"
    return str(path), ""


def _why(error: Any, pool: str, volume: str) -> str:
    if error.get_error_code() == _NO_POOL:
        return f"volume {volume} is in pool {pool}, which this host does not have (define it: virsh pool-define FILE)"
    if error.get_error_code() == _NO_VOLUME:
        return f"pool {pool} does not have volume {volume}, or was not refreshed (virsh pool-refresh {pool})"
    return f"volume {volume} is in pool {pool}, which is not active (virsh pool-start {pool})"


def _is_device(path: str) -> bool:
    try:
        return stat.S_ISBLK(os.stat(path).st_mode)
    except OSError:
        return False
