# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changed, diff and one line for people, all from before and after."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._task.drawn_tree import tree_text
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.outcome import (
    VmOutcome,
    Wording,
    outcome,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.plan import Resize
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import Snapshot
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import VmId
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils.values import snapshot

TREE = (
    snapshot("root"),
    snapshot("left", "root"),
    snapshot("leaf", "left", include_memory=True),
    snapshot("right", "root", current=True),
    snapshot("second root", disks=()),
)
WORDING = {
    False: Wording("snapshot 's'", "taken", True),
    True: Wording("snapshot 's'", "taken", False),
}


def entry(name: str = "web01", **values: Any) -> VmOutcome:
    return VmOutcome(**{"vm_id": VmId(name, "u"), "before": (), "after": (), "snapshot": None, "msg": "m", **values})


def test_a_tree_with_siblings_and_two_roots() -> None:
    assert tree_text(TREE) == (
        "root: disk-only, vda\n"
        "  left: disk-only, vda\n"
        "    leaf: with memory, vda\n"
        "  right: disk-only, vda, current\n"
        "second root: disk-only, no disk\n"
    )
    assert tree_text(()) == ""


@pytest.mark.parametrize(
    ("snapshots", "disk_only", "line"),
    [
        (TREE[2:3], False, "snapshot 's' (with memory) of 1 VM: 1 taken"),
        (TREE[:3], None, "snapshot 's' of 3 VMs: 3 taken, 2 of them disk-only instead of with memory"),
        ((), False, "snapshot 's' (with memory) of 0 VMs: nothing to do"),
    ],
)
def test_a_task_that_asks_for_memory_says_what_was_taken(
    snapshots: tuple[Snapshot, ...], disk_only: bool, line: str
) -> None:
    vms = [entry(one.name, after=(one,), snapshot=one) for one in snapshots]
    result = outcome(WORDING[True], vms, False)
    assert (result["disk_only"], result["msg"]) == (disk_only, line)


def test_what_is_only_known_afterwards_is_no_change() -> None:
    later = replace(TREE[0], created_at="2026-11-23T13:05:42+00:00", quiesced=True, missing_files=("/gone",))
    assert not entry(before=TREE, after=(later, *TREE[1:])).changed
    assert entry(before=TREE, after=(replace(TREE[0], include_memory=True), *TREE[1:])).changed
    assert entry(before=TREE, after=TREE[:-1]).changed


@pytest.mark.parametrize(
    ("check", "memory", "line"),
    [
        (True, False, "snapshot 's' (disk-only) of 3 VMs: 2 would be taken, 1 unchanged"),
        (False, True, "snapshot 's' of 3 VMs: 2 taken, disk-only instead of with memory, 1 unchanged"),
    ],
)
def test_a_result_sums_up_every_vm(check: bool, memory: bool, line: str) -> None:
    new = entry("a", after=TREE[:1], snapshot=TREE[0])
    there = entry("b", before=TREE, after=TREE, snapshot=TREE[0])
    other = entry("c", before=TREE[:1], after=TREE[:2], snapshot=TREE[1])
    result = outcome(WORDING[memory], [new, there, other], check)
    assert (result["changed"], result["disk_only"], result["msg"]) == (True, True, line)
    assert [one["before_header"] for one in result["diff"]] == ["snapshots of a", "snapshots of c"]
    assert (result["diff"][1]["before"], result["diff"][1]["after"]) == (tree_text(TREE[:1]), tree_text(TREE[:2]))
    assert [one["changed"] for one in result["vms"]] == [True, False, True]
    assert "failed" not in result
    assert set(result["vms"][0]) == {
        "vm", "uuid", "changed", "failed", "error_code", "details", "msg", "notes", "recovered", "power", "disk_only",
        "quiesced", "snapshot", "removed", "kept", "files_removed", "merge", "copied_bytes",
    }  # fmt: skip
    assert set(result["vms"][0]["snapshot"]) == {
        "name", "description", "created_at", "parent", "current", "state", "kind", "include_memory", "quiesced", "disks",
        "left_out", "memory_file", "nvram", "tpm", "missing_files", "owned", "protected", "labels", "expires", "past",
        "past_reasons",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("codes", "error_code", "tail"),
    [
        (["locked"], "locked", "1 FAILED. vm0: vm0 failed"),
        (["locked"] * 2, "locked", "2 FAILED. vm0: vm0 failed vm1: vm1 failed"),
        (["locked", "timeout"], "several", "2 FAILED. vm0: vm0 failed vm1: vm1 failed"),
        (["locked"] * 5, "locked", "vm2: vm2 failed (and 2 more, see vms)"),
    ],
)
def test_failures_are_counted_and_the_first_are_told(codes: list[str], error_code: str, tail: str) -> None:
    failed = [
        entry(f"vm{number}", error=KvmError(code, "x", "y", n=number), msg=f"vm{number} failed")
        for number, code in enumerate(codes)
    ]
    result = outcome(WORDING[False], [*failed, entry("good", after=TREE)], False)
    assert (result["failed"], result["error_code"], result["changed"]) == (True, error_code, True)
    assert result["msg"].endswith(tail)
    assert (result["vms"][0]["failed"], result["vms"][0]["details"]) == (True, {"n": 0})


def test_one_vm_is_no_vms() -> None:
    assert "of 1 VM: 1 unchanged" in outcome(WORDING[False], [entry()], False)["msg"]


def test_a_revert_is_a_change_also_where_the_tree_is_the_same() -> None:
    reverted = entry(before=TREE, after=TREE, present=("right",), files_removed=("/vm/o",))
    (diff,) = outcome(Wording("revert to snapshot 'right'", "reverted"), [reverted], False)["diff"]
    assert diff["before"] == tree_text(TREE) + "file: /vm/o\n"
    assert diff["after"] == tree_text(TREE) + "reverted to: right\n"


def test_sizes_are_drawn_where_they_change() -> None:
    resized = (Resize("vda", 96 << 20, 64 << 20), Resize("vdb", 1 << 20, (1 << 20) + 512))
    drawn = entry(resized=resized)
    assert drawn.changed
    assert drawn.before_text == "size of vda: 96 MiB\nsize of vdb: 1 MiB\n"
    assert drawn.after_text == "size of vda: 64 MiB\nsize of vdb: 1.00049 MiB\n"
    assert [str(one) for one in resized] == [
        "disk vda shrinks from 96 MiB to 64 MiB",
        "disk vdb grows from 1 MiB to 1.00049 MiB",
    ]


def test_power_is_drawn_where_it_changes() -> None:
    assert not entry(power=("running", "running")).changed
    changed = entry(power=("running", "shutoff"))
    assert (changed.before_text, changed.after_text) == ("power: running\n", "power: shutoff\n")
    assert (changed.changed, changed.to_result()["power"]) == (True, "shutoff")


def test_the_tree_shows_marks_and_labels() -> None:
    marked = snapshot("s", protected=True, labels={"b": "2", "a": "1"}, current=True)
    assert tree_text([marked]) == "s: disk-only, vda, protected, a=1, b=2, current\n"


def test_what_was_recovered_is_a_change() -> None:
    recovered = entry(recovered="Finished it.")
    assert (recovered.changed, recovered.to_result()["recovered"]) == (True, "Finished it.")
    assert entry().to_result()["recovered"] is None
