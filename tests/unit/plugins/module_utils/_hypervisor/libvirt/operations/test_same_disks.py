# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM that has other disks than its snapshot is told so before a revert; one that is as its snapshot needs none."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.layer_forest import Forest
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.saved_snapshot import (
    SavedDisk,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.operations import same_disks
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.operations.same_disks import (
    check_same_disks,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.devices import Disk
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.layer_steps import Layers
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils.values import snapshot, vm

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


def _forest(top_on: str = "/base") -> Forest:
    layers = Layers({"/base": None, "/top": top_on}, {"/base"}, {"/top"}, {"/top"}, set())
    return Forest(layers, {"vda": "/top"}, running=False)


@pytest.fixture
def target(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(same_disks, "adds_nothing", lambda _file: True)
    return SimpleNamespace(name="s", disks=[SavedDisk("vda", "/base", "qcow2", "/top")])


def needed(target: Any, power: str = "shutoff", final: str = "shutoff", current: bool = True, **layers: Any) -> bool:
    machine, wanted = vm(power=power), snapshot("s", current=current)
    return same_disks.is_needed(machine, wanted, _forest(**layers), target, final)


def test_a_vm_that_is_off_on_an_empty_overlay_is_there_already(target: Any) -> None:
    assert not needed(target)


def test_anything_else_is_a_revert(target: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert needed(target, power="running")
    assert needed(target, final="running")
    assert needed(target, current=False)
    assert needed(target, top_on="/other")
    monkeypatch.setattr(same_disks, "adds_nothing", lambda _file: False)
    assert needed(target)
