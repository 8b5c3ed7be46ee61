# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What info tells: the tree, the counts, and that one VM's failure hides nothing of the others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.mock.hypervisor import MockHypervisor
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.info.facts import VmFacts, tree
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.info.gather import gather
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.info.result import VmInfo, result
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import Snapshot
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.storage import ChainLayer, DiskChain, Storage
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import Operation, VmId
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils.values import (
    machine,
    snapshot,
    state_file,
    vm,
)

TREE = (
    snapshot("root"),
    snapshot("left", "root"),
    snapshot("leaf", "left", include_memory=True),
    snapshot("right", "root", current=True),
    snapshot("second root"),
)


def drawn(nodes: list[dict[str, Any]]) -> list[str]:
    return ["  " * node["depth"] + node["name"] for node in nodes]


def chosen(*wanted: str) -> list[Snapshot]:
    return [one for one in TREE if one.name in wanted]


def test_the_tree_keeps_siblings_and_their_order() -> None:
    nodes = tree(TREE, TREE)
    assert drawn(nodes) == ["root", "  left", "    leaf", "  right", "second root"]
    assert [node["children"] for node in nodes] == [["left", "right"], ["leaf"], [], [], []]
    assert nodes[2] == {"name": "leaf", "depth": 2, "current": False, "include_memory": True, "children": []}
    assert [node["name"] for node in nodes if node["current"]] == ["right"]


@pytest.mark.parametrize(
    ("wanted", "lines", "roots_children"),
    [
        (("left", "leaf", "right"), ["left", "  leaf", "right"], ["leaf"]),
        (("root", "leaf", "right"), ["root", "  leaf", "  right"], ["leaf", "right"]),
        (("leaf", "second root"), ["leaf", "second root"], []),
    ],
)
def test_a_snapshot_stands_below_its_nearest_chosen_ancestor(
    wanted: tuple[str, ...], lines: list[str], roots_children: list[str]
) -> None:
    nodes = tree(TREE, chosen(*wanted))
    assert drawn(nodes) == lines
    assert nodes[0]["children"] == roots_children


def test_a_tree_of_nothing() -> None:
    assert tree(TREE, ()) == []
    assert tree((), ()) == []


def test_a_snapshot_whose_parent_is_not_there_is_a_root() -> None:
    lost = (snapshot("lost", "gone"), snapshot("below", "lost"))
    assert drawn(tree(lost, lost)) == ["lost", "  below"]


def facts(name: str = "web01", storage: Storage | None = None, **values: Any) -> VmFacts:
    machine = vm(name, **values)
    return VmFacts(machine, machine.snapshots, storage or Storage(chains=()))


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


def test_memory_and_chains_are_told() -> None:
    layers = (ChainLayer("/vm/s", "qcow2", 5, 100, "s"), ChainLayer("/vm/base", "raw", 7, 100))
    found = facts(memory_blockers=("invtsc",), memory_bytes=9, storage=Storage((DiskChain("vda", layers),))).to_result()
    assert found["memory"] == {"can_be_saved": False, "blockers": ["invtsc"], "bytes": 9}
    (chain,) = found["chains"]
    assert (chain["target"], chain["depth"], chain["size"]) == ("vda", 2, 12)
    assert [layer["snapshot"] for layer in chain["layers"]] == ["s", None]
    assert facts().to_result()["memory"]["can_be_saved"] is True


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


@pytest.mark.parametrize(
    ("wanted", "found"),
    [(None, ["a", "b[1]", "b1"]), (["b[1]"], ["b[1]", "b1"]), (["*1", "a"], ["a", "b1"]), (["A"], []), ([], [])],
)
def test_only_snapshots_that_match_are_told(tmp_path: Path, wanted: list[str] | None, found: list[str]) -> None:
    (entry,) = gathered(tmp_path, None, wanted, "web01")
    assert isinstance(entry.facts, VmFacts)
    assert sorted(one.name for one in entry.facts.snapshots) == sorted(found)


@pytest.mark.parametrize(
    ("operation", "said", "interrupted"),
    [
        (Operation("remove", "s", "then", running=True, percent=42), "Removing snapshot 's', 42 %", False),
        (Operation("revert", "s", "then", running=True), "Reverting to snapshot 's'", False),
        (Operation("take", "s", "then", running=True), "Taking snapshot 's'", False),
        (
            Operation("revert", "s", "then"),
            "The revert to snapshot 's' that began at then was interrupted: the next run of vm_snapshot or "
            "vm_snapshot_prune on this VM finishes or undoes it first. Act: 1 interrupted operation",
            True,
        ),
    ],
)
def test_what_is_done_on_it(operation: Operation, said: str, interrupted: bool) -> None:
    (entry,) = result([VmInfo(vm().id, facts(operation=operation))])["vms"]
    word = "act" if interrupted else "ok"
    assert (entry["look"], entry["msg"]) == (word, f"{word}: running, 0 snapshots, deepest chain 0 layers. {said}")
    assert entry["operation"] == {
        "kind": operation.kind,
        "snapshot": "s",
        "started_at": "then",
        "running": not interrupted,
        "percent": operation.percent,
        "interrupted": interrupted,
    }


def test_nothing_is_done_on_most() -> None:
    (entry,) = result([VmInfo(vm().id, facts(snapshots=TREE))])["vms"]
    assert entry["operation"] is None
    assert (entry["snapshots"][0]["owned"], entry["snapshots"][0]["protected"]) == (False, False)
    assert entry["snapshots"][0]["labels"] == {}


def test_orphans_are_told_beside_unknown_overlays() -> None:
    storage = Storage((), unknown_overlays=("/vm/used", "/vm/lost"), orphans=("/vm/lost",))
    found = facts(storage=storage).to_result()
    assert (found["unknown_overlays"], found["orphans"]) == (["/vm/used", "/vm/lost"], ["/vm/lost"])


def test_what_there_is_to_look_at_is_told_apart_from_what_to_act_on() -> None:
    noted = VmInfo(vm("noted").id, facts("noted", storage=Storage((), notes=("a backup's layer", "another"))))
    broken = VmInfo(vm("broken").id, facts("broken", storage=Storage((), problems=("disk vda: a",))))
    sound = VmInfo(vm("sound").id, facts("sound"))
    whole = result([noted, broken, sound])
    assert whole["msg"] == "3 VMs, 0 snapshots. Act on broken (1 problem). Look at noted (2 notes)"
    assert [entry["look"] for entry in whole["vms"]] == ["look", "act", "ok"]
    assert whole["vms"][0]["notes"] == ["a backup's layer", "another"]
    assert whole["vms"][2]["msg"] == "ok: running, 0 snapshots, deepest chain 0 layers"
