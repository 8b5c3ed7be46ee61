# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files a snapshot will have, and which VM can have none."""

from __future__ import annotations

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.devices import Disk
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.taking.files_plan import (
    MEMORY_EXTRA,
    NEW_OVERLAY,
    check_depth,
    check_vm,
    files_plan,
    overlay_directory,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.plan import Need, SnapshotPlan
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.request import SnapshotRequest
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import LeftOut
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import VirtualMachine
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils.values import snapshot, vm

COPIES = {"nvram": "/vm/vars", "tpm": "/vm/permall"}


def disk(target: str = "vda", kind: str = "file") -> Disk:
    return Disk(target, "disk", kind, f"/vm/{target}.qcow2", "qcow2", False, False, False, True, None)


def planned(machine: VirtualMachine, *disks: Disk, left_out: tuple[LeftOut, ...] = (), **wish: bool) -> SnapshotPlan:
    request = SnapshotRequest("s", **wish)
    directories = [(one, "/vm") for one in disks]
    return files_plan(machine, request, directories, left_out, lambda *parts: "/".join(parts), copies=COPIES)


def test_each_disk_gets_an_overlay_and_the_room_for_it() -> None:
    plan = planned(vm(), disk("vda"), disk("vdb"))
    assert [(one.target, one.base) for one in plan.snapshot.disks] == [
        ("vda", "/vm/vda.qcow2"),
        ("vdb", "/vm/vdb.qcow2"),
    ]
    assert plan.needs == (Need("/vm", NEW_OVERLAY),) * 2
    assert (plan.snapshot.state, plan.snapshot.memory_file) == ("disk-snapshot", None)
    assert plan.snapshot.firmware_copies == COPIES


def test_memory_goes_beside_the_first_overlay_and_needs_its_room() -> None:
    plan = planned(vm(memory_bytes=5), disk(), include_memory=True)
    assert plan.snapshot.memory_file is not None
    assert plan.snapshot.memory_file.endswith(".memory")
    assert plan.needs[-1] == Need("/vm", 5 + MEMORY_EXTRA)
    assert plan.snapshot.state == "running"


def test_without_a_disk_no_memory_is_planned_either() -> None:
    plan = planned(vm(), include_memory=True)
    assert (plan.snapshot.disks, plan.snapshot.memory_file, plan.needs) == ((), None, ())
    assert plan.snapshot.firmware_copies == {}


def test_the_parent_is_the_current_snapshot_wherever_it_stands() -> None:
    machine = vm(power="shutoff", snapshots=(snapshot("a", current=True), snapshot("b", "a")))
    plan = planned(machine, disk())
    assert (plan.snapshot.parent, plan.snapshot.state) == ("a", "shutoff")


def test_firmware_that_is_left_out_is_told_and_a_left_out_disk_is_not_told_twice() -> None:
    parts = (LeftOut("nvram", "its variables stay"), LeftOut("vdb", "it is raw"))
    assert planned(vm(), disk(), left_out=parts).notes == ("nvram: its variables stay",)


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"persistent": False}, "transient_domain"),
        ({"power": "pmsuspended"}, "bad_state"),
        ({"power": "unknown"}, "bad_state"),
    ],
)
def test_a_vm_that_can_have_no_snapshot_is_refused(values: dict[str, object], code: str) -> None:
    with pytest.raises(KvmError) as refused:
        check_vm(vm(**values))
    assert refused.value.error_code == code


@pytest.mark.parametrize("power", ["running", "paused", "shutoff", "crashed"])
def test_a_vm_in_a_known_state_may_have_one(power: str) -> None:
    check_vm(vm(power=power))


def test_a_chain_is_refused_one_layer_before_it_is_too_deep() -> None:
    check_depth("web01", disk(), 199, 200)
    with pytest.raises(KvmError, match="200 layers") as refused:
        check_depth("web01", disk(), 200, 200)
    assert refused.value.error_code == "chain_too_deep"


def test_an_overlay_lies_beside_its_image_unless_a_directory_is_given() -> None:
    assert overlay_directory("web01", disk(), "/real/vda.qcow2", None) == "/real"
    assert overlay_directory("web01", disk(), "/real/vda.qcow2", "/other") == "/other"
    assert overlay_directory("web01", disk(kind="block"), "/dev/vg/a", "/other") == "/other"


def test_beside_a_block_device_there_is_no_directory() -> None:
    with pytest.raises(KvmError) as refused:
        overlay_directory("web01", disk(kind="block"), "/dev/vg/a", None)
    assert refused.value.error_code == "overlay_dir_unusable"
