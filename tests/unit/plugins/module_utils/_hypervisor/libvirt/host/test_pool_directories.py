# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where pools keep their volumes, by the pools' own XML."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("lxml")

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host import pool_directories
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.pool_directories import (
    directories,
    likely_path,
)


class LibvirtError(Exception):
    """What libvirt raises of a pool that it does not have, or not any more."""


class Connection:
    """A libvirt with pools, by their names; one whose XML is "" was undefined at this very moment."""

    def __init__(self, **pools: str) -> None:
        self._pools = pools

    def storagePoolLookupByName(self, name: str) -> Any:  # noqa: N802 - libvirt's name
        if name not in self._pools:
            raise LibvirtError(name)
        return SimpleNamespace(XMLDesc=lambda _flags: self._xml(name))

    def listAllStoragePools(self, _flags: int) -> list[Any]:  # noqa: N802 - libvirt's name
        return [self.storagePoolLookupByName(name) for name in self._pools]

    def _xml(self, name: str) -> str:
        if not self._pools[name]:
            raise LibvirtError(name)
        return self._pools[name]


def pool(kind: str, path: str = "") -> str:
    return f"<pool type='{kind}'><target><path>{path}</path></target></pool>"


@pytest.fixture(autouse=True)
def errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_directories, "libvirt", SimpleNamespace(libvirtError=LibvirtError))


def test_only_pools_of_files_have_a_directory() -> None:
    connection = Connection(
        a=pool("dir", "/a"), b=pool("logical", "/dev/b"), c=pool("netfs", "/c"), d=pool("dir"), e=""
    )
    assert list(directories(connection)) == ["/a", "/c"]


def test_a_volume_of_a_pool_that_is_not_active_lies_where_its_definition_says() -> None:
    connection = Connection(a=pool("dir", "/a"), b=pool("rbd"))
    assert likely_path(connection, "a", "v.qcow2") == "/a/v.qcow2"
    assert likely_path(connection, "b", "v.qcow2") is None
    assert likely_path(connection, "nowhere", "v.qcow2") is None
