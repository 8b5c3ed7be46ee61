# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking a snapshot, on every backend."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest

from contract.results import knowable, names, only, refused, taken
from contract.taking import name
from contract.world import IMAGES, World

__all__ = ("name",)

VMS = ("db01", "files01", "off01", "tsc01", "web01")


@pytest.mark.parametrize(
    ("vm", "options"),
    [
        ("web01", {}),
        ("db01", {"quiesce": "never"}),
        ("off01", {"description": "two\nlines, <tags> & 'quotes' \"both\""}),
        ("off01", {"include_memory": True}),
        ("files01", {}),
        ("files01", {"disks": ["vdb"]}),
        ("files01", {"include_memory": True}),
        ("tsc01", {"include_memory": True, "on_memory_blocked": "disk_only"}),
    ],
)
def test_check_take_check_again_take_again(world: World, name: str, vm: str, options: dict[str, Any]) -> None:
    if vm == "tsc01" and not world.invtsc:
        pytest.skip(f"{world.name}: no KVM that runs tsc01")
    before, state = names(world, vm), world.state(vm)
    predicted = world.snapshot(vm, name, check=True, **options)
    assert only(predicted)["snapshot"]["created_at"] is None
    assert (names(world, vm), world.state(vm)) == (before, state)

    real = world.snapshot(vm, name, **options)
    assert taken(real)["description"] == options.get("description", "")
    assert knowable(real) == knowable(predicted)
    assert (names(world, vm), world.state(vm)) == ([*before, name], state)

    for check in (True, False):
        again = world.snapshot(vm, name, check=check, **options)
        assert (again["changed"], again["diff"]) == (False, [])
        assert knowable(again)["vms"][0]["snapshot"] == knowable(real)["vms"][0]["snapshot"]
        for key in ("created_at", "quiesced"):
            assert only(again)["snapshot"][key] == taken(real)[key]
    assert (names(world, vm), world.state(vm)) == ([*before, name], state)


def test_the_snapshot_is_what_lies_on_disk(world: World, name: str) -> None:
    before = {chain["target"]: chain["layers"] for chain in world.info("files01")["chains"]}
    snapshot = taken(world.snapshot("files01", name))
    now = world.info("files01")
    for chain in now["chains"]:
        target = chain["target"]
        overlay = next(disk for disk in snapshot["disks"] if disk["target"] == target)
        assert chain["layers"][0]["file"] == overlay["file"]
        assert chain["layers"][0]["snapshot"] == name
        assert [layer["file"] for layer in chain["layers"][1:]] == [layer["file"] for layer in before[target]]
    assert [chain["target"] for chain in now["chains"]] == ["vda", "vdb", "vdc"]
    assert {disk["format"] for disk in snapshot["disks"]} == {"qcow2"}
    assert all(disk["size"] > 0 for disk in snapshot["disks"])
    assert (now["unknown_overlays"], now["missing_files"], now["problems"]) == ([], [], [])
    age = datetime.now(timezone.utc) - datetime.fromisoformat(snapshot["created_at"])
    assert -5 < age.total_seconds() < 60


def test_everything_at_once_and_one_failure_stops_nobody(world: World, name: str) -> None:
    vms = [vm for vm in VMS if world.invtsc or vm != "tsc01"]
    result = world.snapshot("*01", name, include_memory=False)
    assert [entry["vm"] for entry in result["vms"]] == vms
    assert all(entry["changed"] for entry in result["vms"])
    assert "failed" not in result
    # off01 has no memory and is unchanged, the others have: a mismatch each, or, of tsc01, memory that cannot be saved.
    mixed = world.snapshot("*01", name, include_memory=True)
    assert (mixed["changed"], mixed["failed"], mixed["error_code"]) == (False, True, "snapshot_mismatch")
    assert {entry["vm"] for entry in mixed["vms"] if not entry["failed"]} == {"off01"}
    other = world.snapshot(["off01", "db01"], f"{name}-2", quiesce="required")
    assert {entry["vm"]: entry["error_code"] for entry in other["vms"]} == {"db01": "agent_unavailable", "off01": None}
    assert (other["changed"], other["failed"]) == (True, True)


def test_other_disks_are_a_mismatch(world: World, name: str) -> None:
    taken(world.snapshot("files01", name, disks=["vda", "vdb"]))
    refused(world.snapshot("files01", name, disks=["vda"]), "snapshot_mismatch")
    assert not world.snapshot("files01", name, disks=["vdb", "vda"])["changed"]


@pytest.mark.parametrize(
    ("disks", "left_out"),
    [
        (None, {"sda": "a cdrom"}),
        (["vda", "vdb", "vdc"], {"sda": "a cdrom"}),
        (["vdc"], {**dict.fromkeys(("vda", "vdb"), "not among the disks asked for"), "sda": "a cdrom"}),
    ],
)
def test_disks_and_what_is_left_out(world: World, name: str, disks: list[str] | None, left_out: dict[str, str]) -> None:
    snapshot = taken(world.snapshot("files01", name, disks=disks))
    assert {disk["target"] for disk in snapshot["disks"]} == set(disks or ("vda", "vdb", "vdc"))
    assert {part["target"]: part["reason"] for part in snapshot["left_out"]} == left_out


@pytest.mark.parametrize(
    ("disks", "error_code", "says"),
    [
        (["vda", "vdx"], "disk_not_found", "vda, vdb, vdc, sda"),
        (["vda", "sda"], "disk_not_covered", "is a cdrom"),
        ([], "disk_not_covered", "no disk"),
    ],
)
def test_disks_that_cannot_be(world: World, name: str, disks: list[str], error_code: str, says: str) -> None:
    entry = refused(world.snapshot("files01", name, disks=disks), error_code)
    assert says in entry["msg"]


def test_siblings_stand_under_their_parent(world: World, name: str) -> None:
    world.reset("off01")
    world.branch("off01")
    s3 = taken(world.snapshot("off01", "s3"))
    assert (s3["parent"], s3["current"]) == ("s1", True)
    assert taken(world.snapshot("off01", "s4"))["parent"] == "s3"
    info = world.info("off01")
    snapshots = info["snapshots"]
    assert [(one["name"], one["parent"], one["current"]) for one in snapshots] == [
        ("s1", None, False),
        ("s2", "s1", False),
        ("s3", "s1", False),
        ("s4", "s3", True),
    ]
    tree = [(node["name"], node["depth"], node["children"]) for node in info["tree"]]
    assert tree == [("s1", 0, ["s2", "s3"]), ("s2", 1, []), ("s3", 1, ["s4"]), ("s4", 2, [])]
    # One that stands beside the present's own line is found too.
    assert not world.snapshot("off01", "s2")["changed"]
    world.reset("off01")


def test_the_diff_draws_the_tree(world: World) -> None:
    world.reset("off01")
    world.snapshot("off01", "s1")
    diff = world.snapshot("off01", "s2", check=True)["diff"]
    assert diff == world.snapshot("off01", "s2")["diff"]
    assert [(one["before"], one["after"]) for one in diff] == [
        ("s1: disk-only, vda, current\n", "s1: disk-only, vda\n  s2: disk-only, vda, current\n")
    ]


@pytest.mark.parametrize(
    ("kind", "error_code"),
    [("missing", "overlay_dir_unusable"), ("read_only", "overlay_dir_unusable"), ("full", "no_space")],
)
@pytest.mark.parametrize("check", [True, False])
def test_a_directory_that_cannot_hold_overlays(
    world: World, name: str, kind: str, error_code: str, check: bool
) -> None:
    with world.directory(kind) as path:
        entry = refused(world.snapshot("files01", name, overlay_dir=path, check=check), error_code)
    assert entry["details"]["directory"] == path
    assert name not in names(world, "files01")


def test_overlays_in_another_directory(world: World, name: str) -> None:
    with world.directory("good") as path:
        snapshot = taken(world.snapshot("files01", name, overlay_dir=path, disks=["vda"]))
        assert snapshot["disks"][0]["file"].startswith(f"{path}/")
        world.reset("files01")


def test_a_transient_vm_is_refused(world: World, name: str) -> None:
    world.reset("files01")
    world.make_transient("files01")
    try:
        refused(world.snapshot("files01", name), "transient_domain")
    finally:
        world.reset("files01")


@pytest.mark.parametrize("check", [True, False])
def test_a_vm_with_a_block_job_is_refused(world: World, name: str, check: bool) -> None:
    world.reset("files01")
    world.start_block_job("files01", "vdb")
    try:
        entry = refused(world.snapshot("files01", name, disks=["vda"], check=check), "block_job_active")
        assert entry["details"]["disk"] == "vdb"
    finally:
        world.reset("files01")


def test_a_lost_overlay_is_told_and_not_built_upon(world: World, name: str) -> None:
    world.reset("off01")
    taken(world.snapshot("off01", "s1"))
    lost = taken(world.snapshot("off01", "s2"))["disks"][0]["file"]
    taken(world.snapshot("off01", "s3"))
    world.remove_file(lost)
    try:
        assert only(world.snapshot("off01", "s2"))["snapshot"]["missing_files"] == []  # it holds what is below
        assert only(world.snapshot("off01", "s3"))["snapshot"]["missing_files"] == [lost]
        info = world.info("off01")
        assert info["missing_files"] == [{"snapshot": "s3", "file": lost}]
        assert info["problems"] != []
        refused(world.snapshot("off01", name), "chain_mismatch")
    finally:
        world.reset("off01")


@pytest.mark.parametrize("limits", [{"timeout": -1}, {"parallel": 0}, {"quiesce_timeout": -5}])
def test_limits_that_make_no_sense(world: World, name: str, limits: dict[str, Any]) -> None:
    result = world.snapshot("off01", name, **limits)
    assert (result["failed"], result["error_code"]) == (True, "bad_request")


def test_file_systems_with_images_are_told_once_with_their_room(world: World) -> None:
    """Two VMs with images in one directory are on one file system, and it has room for what the tests do."""
    world.reset("off01", "files01")
    (found,) = world.filesystems("off01", "files01")
    assert set(found) == {"path", "total", "free", "vms", "written_by"}
    assert IMAGES.startswith(found["path"])
    assert 0 < found["free"] <= found["total"]
    assert found["vms"] == found["written_by"] == ["files01", "off01"]
    assert world.filesystems("nobody-*") == []
