# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which VMs and which of their snapshots are read."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.mock.hypervisor import MockHypervisor
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.info.read_vms import gather
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.info.result import VmInfo, result
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.info.vm_facts import VmFacts
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils.values import (
    machine,
    state_file,
)


def gathered(folder: Path, patterns: list[str] | None, wanted: list[str] | None = None, *vms: str) -> list[VmInfo]:
    machines = [machine(name, snapshots=[{"name": one} for one in ("a", "b[1]", "b1")]) for name in vms]
    with MockHypervisor(state_file(folder, *machines)) as hypervisor:
        return gather(hypervisor, patterns, wanted, parallel=2, timeout=30)


@pytest.mark.parametrize(
    ("patterns", "found"),
    [(None, ["db01", "web01", "web02"]), ([], []), (["web*"], ["web01", "web02"]), (["!web*"], ["db01"])],
)
def test_only_vms_that_match_are_gathered(tmp_path: Path, patterns: list[str] | None, found: list[str]) -> None:
    entries = gathered(tmp_path, patterns, None, "web02", "db01", "web01")
    assert [entry.vm_id.name for entry in entries] == found


def test_a_host_without_vms_is_no_error(tmp_path: Path) -> None:
    assert gathered(tmp_path, None) == []
    assert result([])["msg"] == "0 VMs, 0 snapshots"


def test_a_pattern_without_a_match_is_none(tmp_path: Path) -> None:
    assert result(gathered(tmp_path, ["no*", "!x"], None, "web01"))["msg"] == "0 VMs, 0 snapshots"


def test_a_name_without_a_vm_is_one(tmp_path: Path) -> None:
    with pytest.raises(KvmError) as caught:
        gathered(tmp_path, ["nobody"], None, "web01")
    assert caught.value.error_code == "vm_not_found"


def test_what_may_be_missing_is_told(tmp_path: Path) -> None:
    with MockHypervisor(state_file(tmp_path, machine("web01"))) as hypervisor:
        found = result(gather(hypervisor, ["nobody", "web01"], None, 2, 30, missing="skip"))
    assert (found["missing"], [vm["vm"] for vm in found["vms"]]) == (["nobody"], ["web01"])
    assert found["msg"] == "1 VM, 0 snapshots. Not on this host: nobody"
    assert "failed" not in found


@pytest.mark.parametrize(
    ("wanted", "found"),
    [(None, ["a", "b[1]", "b1"]), (["b[1]"], ["b[1]", "b1"]), (["*1", "a"], ["a", "b1"]), (["A"], []), ([], [])],
)
def test_only_snapshots_that_match_are_told(tmp_path: Path, wanted: list[str] | None, found: list[str]) -> None:
    (entry,) = gathered(tmp_path, None, wanted, "web01")
    assert isinstance(entry.facts, VmFacts)
    assert sorted(one.name for one in entry.facts.snapshots) == sorted(found)
