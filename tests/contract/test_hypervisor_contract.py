# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every backend must do, told once. `pytest tests/contract -k mock` needs no lab; `-k hv-bookworm` is one host."""

from __future__ import annotations

import uuid
from datetime import datetime, timezone
from typing import Any

import pytest

from contract.results import knowable, names, only, refused, taken
from contract.world import World

VMS = ("db01", "files01", "off01", "tsc01", "web01")
FILES01_LEFT_OUT = [{"target": "sda", "reason": "a cdrom"}]


@pytest.fixture
def name() -> str:
    """A snapshot name that no VM has yet: most tests need no VM made anew."""
    return f"t-{uuid.uuid4().hex[:8]}"


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


@pytest.mark.parametrize(("first", "second"), [(True, False), (False, True)])
def test_other_memory_is_a_mismatch(world: World, name: str, first: bool, second: bool) -> None:
    snapshot = taken(world.snapshot("files01", name, include_memory=first))
    assert snapshot["include_memory"] is first
    for check in (True, False):
        entry = refused(world.snapshot("files01", name, include_memory=second, check=check), "snapshot_mismatch")
        assert entry["details"]["existing"]["name"] == name


def test_other_disks_are_a_mismatch(world: World, name: str) -> None:
    taken(world.snapshot("files01", name, disks=["vda", "vdb"]))
    refused(world.snapshot("files01", name, disks=["vda"]), "snapshot_mismatch")
    assert not world.snapshot("files01", name, disks=["vdb", "vda"])["changed"]


def test_memory_is_saved_and_the_vm_goes_on(world: World, name: str) -> None:
    snapshot = taken(world.snapshot("files01", name, include_memory=True))
    assert (snapshot["include_memory"], snapshot["state"], snapshot["quiesced"]) == (True, "running", False)
    assert snapshot["memory_file"] in world.files("files01")
    assert world.state("files01") == "running"


@pytest.mark.parametrize("check", [True, False])
def test_memory_of_an_invtsc_vm_is_refused(world: World, name: str, check: bool) -> None:
    if not world.invtsc:
        pytest.skip(f"{world.name}: no KVM that runs tsc01")
    files = world.files("tsc01")
    entry = refused(world.snapshot("tsc01", name, include_memory=True, check=check), "memory_blocked")
    assert any("invtsc" in blocker for blocker in entry["details"]["blockers"])
    assert "TSC frequency" in entry["msg"]
    assert "on_memory_blocked" in entry["msg"]
    assert world.files("tsc01") == files
    assert world.info("tsc01")["memory"]["can_be_saved"] is False


def test_memory_of_an_invtsc_vm_may_be_left_out(world: World, name: str) -> None:
    if not world.invtsc:
        pytest.skip(f"{world.name}: no KVM that runs tsc01")
    result = world.snapshot("tsc01", name, include_memory=True, on_memory_blocked="disk_only")
    assert taken(result)["include_memory"] is False
    assert (result["disk_only"], only(result)["disk_only"]) == (True, True)
    assert any(note.startswith("memory left out: ") and "invtsc" in note for note in only(result)["notes"])


def test_a_vm_that_is_off_has_no_memory(world: World, name: str) -> None:
    result = world.snapshot("off01", name, include_memory=True)
    assert (taken(result)["include_memory"], taken(result)["state"]) == (False, "shutoff")
    assert "off01 is shutoff and has no memory to save" in only(result)["notes"]
    assert not world.snapshot("off01", name, include_memory=False)["changed"]


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


@pytest.mark.parametrize(
    ("vm", "quiesce", "quiesced", "note"),
    [
        ("web01", "never", False, ""),
        ("web01", "auto", True, ""),
        ("web01", "required", True, ""),
        ("db01", "auto", False, "not quiesced: no guest agent answers"),
        ("off01", "required", False, "there is nothing to freeze"),
    ],
)
def test_a_guest_is_frozen_where_its_agent_answers(
    world: World, name: str, *, vm: str, quiesce: str, quiesced: bool, note: str
) -> None:
    result = world.snapshot(vm, name, quiesce=quiesce)
    assert (taken(result)["quiesced"], only(result)["quiesced"]) == (quiesced, quiesced)
    assert [note in given for given in only(result)["notes"]] == ([True] if note else [])
    assert ("quiesced" in only(result)["msg"]) is (quiesced or bool(note))
    again = world.snapshot(vm, name, quiesce=quiesce)
    assert only(again)["quiesced"] is quiesced


def test_a_freeze_is_not_claimed_for_a_snapshot_others_took(world: World, name: str) -> None:
    assert taken(world.snapshot("web01", name))["quiesced"] is True
    world.take_anew("web01", name)
    again = only(world.snapshot("web01", name))["snapshot"]
    assert (again["description"], again["quiesced"]) == ("by hand", None)


@pytest.mark.parametrize("check", [True, False])
def test_required_without_an_agent_changes_nothing(world: World, name: str, check: bool) -> None:
    files = world.files("db01")
    refused(world.snapshot("db01", name, quiesce="required", check=check), "agent_unavailable")
    assert world.files("db01") == files
    assert name not in names(world, "db01")


def test_a_paused_vm_stays_paused(world: World, name: str) -> None:
    world.reset("files01")
    world.pause("files01")
    try:
        refused(world.snapshot("files01", name, quiesce="required"), "agent_unavailable")
        assert "the guest is paused" in str(only(world.snapshot("files01", name))["notes"])
        memory = taken(world.snapshot("files01", f"{name}-memory", include_memory=True))
        assert (memory["state"], memory["include_memory"]) == ("paused", True)
        assert world.state("files01") == "paused"
    finally:
        world.reset("files01")


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


def test_a_vm_that_another_run_holds_is_locked(world: World, name: str) -> None:
    other = world.driver()
    try:
        other.send("hold", vm="off01")
        assert other.answer() == {}
        refused(world.snapshot("off01", name, timeout=1), "locked")
        assert taken(world.snapshot("files01", name, timeout=1))
        assert world.snapshot("off01", name, timeout=1, check=True)["changed"]
    finally:
        other.end()
    assert taken(world.snapshot("off01", name, timeout=1))  # the lock died with its holder


def test_two_runs_at_once_take_one_snapshot(world: World, name: str) -> None:
    before = world.files("files01")
    runs = [world.driver() for _number in range(3)]
    try:
        for run in runs:
            run.send("snapshot", vms=["files01"], name=name, check=False, limits={})
        results = [run.answer() for run in runs]
    finally:
        for run in runs:
            run.end()
    assert sorted(result["changed"] for result in results) == [False, False, True]
    assert [result["msg"] for result in results if result.get("failed")] == []
    assert len(set(world.files("files01")) - set(before)) == 3  # an overlay for each of its disks
    assert names(world, "files01").count(name) == 1


NOBODY = "99999999-AAAA-4aaa-8aaa-999999999999"


@pytest.mark.parametrize("patterns", [["nobody"], ["off01", "nobody"], [NOBODY, "off01"], ["nobody", "no-*", "!off01"]])
@pytest.mark.parametrize("check", [True, False])
def test_a_name_that_is_not_here(world: World, name: str, patterns: list[str], check: bool) -> None:
    result = world.snapshot(patterns, name, check=check)
    assert (result["failed"], result["error_code"], result["vms"]) == (True, "vm_not_found", [])
    assert result["details"]["names"] == [one for one in patterns if one in ("nobody", NOBODY)]
    assert name not in names(world, "off01")


@pytest.mark.parametrize("patterns", [["no-*"], ["off01", "!off*"], ["!*"]])
def test_nothing_that_is_meant_is_nothing_to_do(world: World, name: str, patterns: list[str]) -> None:
    for result in (world.snapshot(patterns, name), world.revert(patterns, name), world.remove(patterns, name)):
        assert "failed" not in result
        assert (result["changed"], result["vms"], result["missing"]) == (False, [], [])
        assert result["msg"].endswith(" of 0 VMs: nothing to do")
    assert name not in names(world, "off01")


def test_what_may_be_missing_is_told(world: World, name: str) -> None:
    patterns = ["nobody", "off01", NOBODY, "no-*"]
    for call, word in (
        (world.snapshot, "taken"),
        (world.snapshot, "unchanged"),
        (world.revert, "unchanged"),
        (world.remove, "removed"),
    ):
        result = call(patterns, name, missing="skip")
        assert "failed" not in result, result["msg"]
        assert ([vm["vm"] for vm in result["vms"]], result["missing"]) == (["off01"], ["nobody", NOBODY])
        assert result["msg"].endswith(f"of 1 VM: 1 {word}. Not on this host: nobody, {NOBODY}")
    alone = world.remove(["nobody"], name, missing="skip")
    assert (alone["changed"], alone["vms"], alone["missing"]) == (False, [], ["nobody"])


@pytest.mark.parametrize("patterns", [[""], ["off01", ""], ["*", "!"]])
def test_what_an_empty_variable_becomes_is_not_every_vm(world: World, name: str, patterns: list[str]) -> None:
    result = world.snapshot(patterns, name, missing="skip")
    assert (result["failed"], result["error_code"], result["vms"]) == (True, "bad_request", [])
    assert name not in names(world, "off01")


def test_vms_by_uuid_glob_and_exclusion(world: World, name: str) -> None:
    uuid_of_off01 = only(world.snapshot("off01", name, check=True))["uuid"]
    for patterns, expected in (
        ([uuid_of_off01.upper()], ["off01"]),
        (["o?f*", "off01"], ["off01"]),
        (["off01", uuid_of_off01, "off01", "of*"], ["off01"]),
        (["*01", "!db01", "!web*", "!tsc01"], ["files01", "off01"]),
    ):
        result = world.snapshot(patterns, name, check=True)
        assert [entry["vm"] for entry in result["vms"]] == expected


@pytest.mark.parametrize("bad", ["", " ", " a", "a\n", "a/b", ".a", "-a", "a\tb", "a\x00b", "a\x85b", "x" * 252])
def test_names_that_would_harm(world: World, bad: str) -> None:
    result = world.snapshot("off01", bad)
    assert (result["failed"], result["error_code"], result["vms"]) == (True, "bad_name", [])


@pytest.mark.parametrize(
    "text",
    [
        {"description": "\x1b[31m"},
        {"description": "a\ufffe"},
        {"description": "x" * 65537},
        {"description": "a\rb"},
    ],
)
def test_texts_that_would_not_be_kept(world: World, text: dict[str, Any]) -> None:
    before = names(world, "off01")
    for check in (True, False):
        result = world.snapshot("off01", "s1", check=check, **text)
        assert (result["failed"], result["error_code"], result["vms"]) == (True, "bad_request", [])
    assert names(world, "off01") == before


def test_a_name_too_long_beside_that_of_the_vm(world: World) -> None:
    refused(world.snapshot("off01", "x" * 245), "bad_name")


@pytest.mark.parametrize("good", ["a b", "<&\"'>", "$(touch x)`;", "größe-数", "a,b=c", "%s{0}{{ x }}", "x" * 230])
def test_names_that_survive(world: World, good: str) -> None:
    world.reset("off01")
    assert taken(world.snapshot("off01", good))["name"] == good
    assert names(world, "off01") == [good]
    assert not world.snapshot("off01", good)["changed"]


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


def test_only_running_vms(world: World, name: str) -> None:
    result = world.snapshot(["off01", "files01"], name, running_only=True)
    assert {entry["vm"]: entry["changed"] for entry in result["vms"]} == {"files01": True, "off01": False}
    assert name not in names(world, "off01")


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


def test_one_at_a_time_is_the_same(world: World, name: str) -> None:
    result = world.snapshot(["off01", "files01"], name, parallel=1)
    assert [(entry["vm"], entry["changed"]) for entry in result["vms"]] == [("files01", True), ("off01", True)]
