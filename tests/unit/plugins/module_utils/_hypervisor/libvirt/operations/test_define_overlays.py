# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The definition of a running VM follows its disks to their new overlays."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.saved_snapshot import (
    SavedDisk,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.operations.define_overlays import (
    follow,
)
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils.domains import disk, domain


class Handle:
    """A VM whose definition has one disk, on /vm/vda.qcow2."""

    def __init__(self, active: bool = True) -> None:
        self.defined: dict[str, tuple[str, str]] = {}
        self._active = active

    def active(self) -> bool:
        return self._active

    def definition(self) -> Any:
        return ElementTree.fromstring(domain(disk("vda")))  # noqa: S314 - ours

    def define(self, images: dict[str, tuple[str, str]]) -> None:
        self.defined = images


def followed(handle: Handle, *parts: SavedDisk) -> dict[str, tuple[str, str]]:
    follow(handle, SimpleNamespace(disks=parts))
    return handle.defined


def test_a_disk_that_was_left_on_its_frozen_image_is_put_on_the_overlay() -> None:
    part = SavedDisk("vda", "/vm/vda.qcow2", "qcow2", "/vm/new")
    assert followed(Handle(), part) == {"vda": ("/vm/new", "qcow2")}


def test_a_definition_that_is_right_is_left_alone() -> None:
    assert followed(Handle(), SavedDisk("vda", "/vm/older.qcow2", "qcow2", "/vm/vda.qcow2")) == {}
    assert followed(Handle(), SavedDisk("vda", "/vm/vda.qcow2", "qcow2", None)) == {}
    assert followed(Handle(), SavedDisk("vdb", "/vm/vda.qcow2", "qcow2", "/vm/new")) == {}


def test_a_vm_that_is_off_has_but_one_definition() -> None:
    assert followed(Handle(active=False), SavedDisk("vda", "/vm/vda.qcow2", "qcow2", "/vm/new")) == {}
