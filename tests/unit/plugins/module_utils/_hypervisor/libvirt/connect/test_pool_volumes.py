# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Volumes of pools: looked up where XML is read, and volumes still where it is written."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils.domains import disk, domain

pytest.importorskip("lxml")

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect import pool_volumes
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.libraries import etree, parse
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.saved_snapshot import (
    point_to,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.devices import disks

PATHS = {"dir": "/pool/v", "lvm": "/dev/vg/v", "rbd": "pool/v"}
VOLUME = disk("vda", type="volume", source="<source pool='{}' volume='v'/>")


class RefusedError(Exception):
    """What libvirt raises."""

    def __init__(self, code: int) -> None:
        super().__init__()
        self.get_error_code = lambda: code


class Pools:
    """A connection: ``dir`` and ``lvm`` are active pools, ``off`` is one that is not, ``rbd`` holds no files."""

    def storagePoolLookupByName(self, name: str) -> Any:  # noqa: N802
        if name not in (*PATHS, "off", "stale"):
            raise RefusedError(49)
        return SimpleNamespace(storageVolLookupByName=lambda _volume: self._volume(name))

    def _volume(self, pool: str) -> Any:
        if pool not in PATHS:
            raise RefusedError(50 if pool == "stale" else 55)
        return SimpleNamespace(path=lambda: PATHS[pool])


@pytest.fixture(autouse=True)
def _libvirt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_volumes, "libvirt", SimpleNamespace(libvirtError=RefusedError))
    monkeypatch.setattr(pool_volumes, "_is_device", lambda path: path.startswith("/dev/"))


def resolved(pool: str) -> Any:
    root = parse(domain(VOLUME.format(pool)))
    pool_volumes.resolve_volumes(Pools(), root)
    return root


@pytest.mark.parametrize(
    ("pool", "kind", "path", "reason"),
    [
        ("dir", "file", "/pool/v", ""),
        ("lvm", "block", "/dev/vg/v", ""),
        ("rbd", "volume", None, "not a file or block device"),
        ("off", "volume", None, "virsh pool-start off"),
        ("stale", "volume", None, "virsh pool-refresh stale"),
        ("none", "volume", None, "does not have"),
    ],
)
def test_a_volume_is_found_in_its_pool_or_the_reason_is_told(
    pool: str, kind: str, path: str | None, reason: str
) -> None:
    root = resolved(pool)
    (found,) = disks(root)
    assert (found.type, found.source) == (kind, path)
    assert reason in found.unresolved
    assert bool(found.unresolved) == bool(reason)
    assert pool_volumes.volume_path(Pools(), pool, "v") == path
    # Libvirt hears of it what it said itself.
    assert pool_volumes.unresolved(root) == etree.tostring(parse(domain(VOLUME.format(pool))), encoding="unicode")
    assert disks(root) == [found]


def test_a_layer_that_is_a_volume() -> None:
    layer = (
        "<backingStore type='volume'><format type='raw'/><source pool='dir' volume='v'/><backingStore/></backingStore>"
    )
    root = parse(domain(disk("vda", layer)))
    assert disks(root)[0].backing is None
    pool_volumes.resolve_volumes(Pools(), root)
    assert disks(root)[0].backing == ("/pool/v",)


def test_a_disk_that_is_put_on_another_image_is_a_volume_no_more() -> None:
    root = resolved("dir")
    point_to(root.find("devices/disk"), "/vm/s1.qcow2", "qcow2")
    written = parse(pool_volumes.unresolved(root)).find("devices/disk")
    assert (written.get("type"), dict(written.find("source").attrib)) == ("file", {"file": "/vm/s1.qcow2"})


def test_an_initiator_of_its_own_is_no_device_here() -> None:
    root = parse(domain(disk(type="volume", source="<source pool='dir' volume='v' mode='direct'/>")))
    pool_volumes.resolve_volumes(Pools(), root)
    assert disks(root)[0].source is None
