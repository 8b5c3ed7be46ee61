# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading results: what the contract's tests say again and again."""

from __future__ import annotations

import copy
import re
from typing import Any

from contract.world import World


def only(result: dict[str, Any]) -> dict[str, Any]:
    """Return the entry of the one VM of a result."""
    assert len(result["vms"]) == 1, result
    entry: dict[str, Any] = result["vms"][0]
    return entry


def taken(result: dict[str, Any]) -> dict[str, Any]:
    """Return the snapshot of the one VM of a result, which was taken."""
    entry = only(result)
    assert (entry["changed"], entry["failed"]) == (True, False), entry["msg"]
    snapshot: dict[str, Any] = entry["snapshot"]
    return snapshot


def refused(result: dict[str, Any], error_code: str) -> dict[str, Any]:
    """Return the entry of the one VM of a result, which was refused with that code and is unchanged."""
    entry = only(result)
    assert (result["failed"], result["error_code"]) == (True, error_code), result["msg"]
    assert (entry["changed"], entry["failed"], entry["error_code"]) == (False, True, error_code), entry
    assert (result["changed"], result["diff"]) == (False, [])
    return entry


def names(world: World, vm: str) -> list[str]:
    return [snapshot["name"] for snapshot in world.info(vm)["snapshots"]]


def knowable(result: dict[str, Any]) -> dict[str, Any]:
    """Return what of a result check mode can know: times, sizes and whether a freeze succeeds it cannot."""
    known = copy.deepcopy(result)
    for entry in (known, *known["vms"]):
        entry["msg"] = re.sub("would be taken|taken", "TAKEN", entry["msg"]).replace(", quiesced", "")
    for entry in known["vms"]:
        entry["quiesced"] = None
        if entry["snapshot"]:
            entry["snapshot"].update(created_at=None, quiesced=None)
            for disk in entry["snapshot"]["disks"] or ():
                disk["size"] = None
    return known


def done(result: dict[str, Any]) -> dict[str, Any]:
    """Return the entry of the one VM of a result, which changed without a failure."""
    entry = only(result)
    assert (entry["changed"], entry["failed"]) == (True, False), entry["msg"]
    return entry


def unchanged(result: dict[str, Any]) -> None:
    """Assert that there was nothing to do, and no failure."""
    entry = only(result)
    assert (result["changed"], result["diff"], entry["changed"], entry["failed"]) == (False, [], False, False), entry


def tree(world: World, vm: str) -> list[tuple[str, str | None, bool]]:
    """Return the snapshots: name, parent, and whether the present is based on it."""
    return [(one["name"], one["parent"], one["current"]) for one in world.info(vm)["snapshots"]]


def chain(world: World, vm: str, target: str = "vda") -> list[str]:
    """Return the files of a disk's chain, active layer first."""
    found = next(one for one in world.info(vm)["chains"] if one["target"] == target)
    return [layer["file"] for layer in found["layers"]]


def base(world: World, vm: str, snapshot: str) -> str:
    """Return the image that holds the state of disk vda in a snapshot."""
    found = next(one for one in world.info(vm)["snapshots"] if one["name"] == snapshot)
    file: str = next(disk["base"] for disk in found["disks"] if disk["target"] == "vda")
    return file


def sound(world: World, vm: str) -> None:
    """Assert that nothing is missing, left over or wrong."""
    info = world.info(vm)
    found = {key: info[key] for key in ("missing_files", "unknown_overlays", "orphans", "problems", "operation")}
    assert not any(found.values()), found


def as_checked(real: dict[str, Any], predicted: dict[str, Any]) -> None:
    """Assert that a run did what check mode had said."""
    assert real["diff"] == predicted["diff"]
    for was, said in zip(real["vms"], predicted["vms"]):
        keys = ("vm", "changed", "failed", "power", "removed", "files_removed", "notes", "recovered")
        assert {key: was[key] for key in keys} == {key: said[key] for key in keys}
        assert was.keys() == said.keys()
