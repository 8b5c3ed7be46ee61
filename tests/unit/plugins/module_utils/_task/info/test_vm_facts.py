# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is told of one VM: its tree, its chains, what is at work on it, what to look at."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._task.info.result import VmInfo, result
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.info.vm_facts import tree
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import Snapshot
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.storage import ChainLayer, DiskChain, Storage
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import Operation
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils._task.info.facts import TREE, facts
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils.values import (
    snapshot,
    vm,
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


def test_memory_and_chains_are_told() -> None:
    layers = (ChainLayer("/vm/s", "qcow2", 5, 100, "s"), ChainLayer("/vm/base", "raw", 7, 100))
    found = facts(memory_blockers=("invtsc",), memory_bytes=9, storage=Storage((DiskChain("vda", layers),))).to_result()
    assert found["memory"] == {"can_be_saved": False, "blockers": ["invtsc"], "bytes": 9}
    (chain,) = found["chains"]
    assert (chain["target"], chain["depth"], chain["size"]) == ("vda", 2, 12)
    assert [layer["snapshot"] for layer in chain["layers"]] == ["s", None]
    assert facts().to_result()["memory"]["can_be_saved"] is True


@pytest.mark.parametrize(
    ("operation", "said", "interrupted"),
    [
        (Operation("remove", "s", "then", running=True, percent=42), "Removing snapshot 's', 42 %", False),
        (
            Operation("remove", "s", "then", running=True, percent=42, seconds_left=180),
            "Removing snapshot 's', 42 %, about 3 min left",
            False,
        ),
        (Operation("remove", "s", "then", running=True, also=("r",)), "Removing snapshots 's', 'r'", False),
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
        "snapshots": ["s", *operation.also],
        "started_at": "then",
        "running": not interrupted,
        "percent": operation.percent,
        "seconds_left": operation.seconds_left,
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
