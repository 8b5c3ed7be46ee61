# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What vm_snapshot_info returns: failures beside what could be read, and trouble counted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.mock.hypervisor import MockHypervisor
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.info.read_vms import gather
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.info.result import VmInfo, result
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.storage import Storage
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import VmId
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils._task.info.facts import TREE, facts
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils.values import (
    machine,
    state_file,
    vm,
)


def test_one_that_cannot_be_read_hides_no_other() -> None:
    good = VmInfo(vm("good").id, facts("good", snapshots=TREE))
    bad = VmInfo(vm("bad").id, KvmError("timeout", "bad does not answer.", "Look at libvirtd.", seconds=9))
    whole = result([bad, good])
    assert (whole["changed"], whole["failed"], whole["error_code"]) == (False, True, "timeout")
    assert whole["msg"] == "2 VMs, 5 snapshots. 1 FAILED. bad: bad does not answer. Look at libvirtd."
    entry, other = whole["vms"]
    assert set(entry) == set(other)
    assert (entry["failed"], entry["error_code"], entry["details"]) == (True, "timeout", {"seconds": 9})
    assert (entry["look"], entry["state"], entry["memory"], entry["snapshots"]) == ("act", None, None, [])
    assert (other["failed"], other["error_code"], len(other["snapshots"])) == (False, None, 5)


def test_failures_of_different_kinds() -> None:
    errors = [KvmError(code, f"{code}!") for code in ("timeout", "vm_not_found", "timeout", "busy")]
    whole = result([VmInfo(vm(f"v{number}").id, error) for number, error in enumerate(errors)])
    assert whole["error_code"] == "several"
    assert whole["msg"].endswith("4 FAILED. v0: timeout! v1: vm_not_found! v2: timeout! and 1 more, see vms")


def test_trouble_is_counted_and_is_no_failure() -> None:
    broken = replace(TREE[1], missing_files=("/vm/left.qcow2", "/vm/left.memory"))
    storage = Storage((), unknown_overlays=("/vm/x",), problems=("disk vda: a", "disk vdb: b"))
    whole = result([VmInfo(vm().id, facts(snapshots=(TREE[0], broken), storage=storage))])
    trouble = "2 problems, 2 missing files"
    assert "failed" not in whole
    assert whole["msg"] == f"1 VM, 2 snapshots. Act on web01 ({trouble})"
    (entry,) = whole["vms"]
    assert entry["look"] == "act"
    assert entry["msg"] == f"act: running, 2 snapshots, deepest chain 0 layers. Act: {trouble}. Look: 1 unknown overlay"
    assert entry["missing_files"] == [
        {"snapshot": "left", "file": "/vm/left.qcow2"},
        {"snapshot": "left", "file": "/vm/left.memory"},
    ]
    assert (entry["unknown_overlays"], entry["problems"]) == (["/vm/x"], ["disk vda: a", "disk vdb: b"])


def test_trouble_is_not_filtered_with_the_snapshots() -> None:
    broken = replace(TREE[0], missing_files=("/vm/root.qcow2",))
    found = replace(facts(snapshots=(broken, TREE[1])), snapshots=(TREE[1],)).to_result()
    assert [one["name"] for one in found["snapshots"]] == ["left"]
    assert found["missing_files"] == [{"snapshot": "root", "file": "/vm/root.qcow2"}]


@pytest.mark.parametrize(
    ("patterns", "missing", "code"),
    [(None, "fail", None), (["*"], "skip", None), (["*"], "fail", "vm_not_found"), (["web01"], "fail", "vm_not_found")],
)
def test_a_vm_that_goes_away_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patterns: list[str] | None, missing: str, code: str | None
) -> None:
    path = state_file(tmp_path, machine("web01"))
    original = MockHypervisor.vms

    def and_one_more(self: MockHypervisor) -> list[VmId]:
        return [*original(self), VmId("gone", "gone")]

    monkeypatch.setattr(MockHypervisor, "vms", and_one_more)
    with MockHypervisor(path) as hypervisor:
        wanted = ["gone"] if patterns == ["web01"] else patterns
        found = result(gather(hypervisor, wanted, None, 2, 30, missing=missing))
    assert found.get("error_code") == code
    assert found["missing"] == ([] if code else ["gone"])
    assert [vm["vm"] for vm in found["vms"] if not vm["failed"]] == ([] if patterns == ["web01"] else ["web01"])
