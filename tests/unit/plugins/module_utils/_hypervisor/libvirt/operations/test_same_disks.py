# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM that has other disks than its snapshot is told so before a revert."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.saved_snapshot import (
    SavedDisk,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.operations import same_disks
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.operations.same_disks import (
    check_same_disks,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.devices import Disk
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError

_CHAINS = {"/vm/top": ["/vm/top", "/vm/base"], "/vm/base": ["/vm/base"], "/vm/other": ["/vm/other"]}


@pytest.fixture(autouse=True)
def chains(monkeypatch: pytest.MonkeyPatch) -> None:
    def real_chain(file: str, _format: str) -> list[str]:
        if file not in _CHAINS:
            raise FileNotFoundError(file)
        return _CHAINS[file]

    monkeypatch.setattr(same_disks, "real_chain", real_chain)


def disk(target: str, source: str, readonly: bool = False) -> Disk:
    return Disk(target, "disk", "file", source, "qcow2", readonly, False, False, True, None)


def saved(*targets: str) -> Any:
    return SimpleNamespace(
        name="s",
        vm_disks=[disk(target, "/vm/base") for target in targets],
        disks=[SavedDisk(target, "/vm/base", "qcow2", None) for target in targets],
    )


def code(then: Any, *now: Disk, overlays: tuple[str, ...] = ()) -> str:
    try:
        check_same_disks("web01", then, {one.target: one for one in now}, overlays)
    except KvmError as error:
        return error.error_code
    return ""


def test_the_same_disks_are_accepted() -> None:
    assert code(saved("vda"), disk("vda", "/vm/top")) == ""


def test_a_disk_that_came_or_went_is_told() -> None:
    assert code(saved("vda", "vdb"), disk("vda", "/vm/top")) == "disks_changed"
    assert code(saved("vda"), disk("vda", "/vm/top"), disk("vdb", "/vm/other")) == "disks_changed"


def test_a_disk_that_is_only_read_may_come() -> None:
    assert code(saved("vda"), disk("vda", "/vm/top"), disk("sda", "/vm/other", readonly=True)) == ""


def test_another_image_in_a_disks_place_is_told_unless_it_is_an_overlay_of_the_vm() -> None:
    assert code(saved("vda"), disk("vda", "/vm/other")) == "disks_changed"
    assert code(saved("vda"), disk("vda", "/vm/other"), overlays=("/vm/other",)) == ""


def test_a_chain_that_cannot_be_read_is_judged_elsewhere() -> None:
    assert code(saved("vda"), disk("vda", "/vm/gone")) == ""
