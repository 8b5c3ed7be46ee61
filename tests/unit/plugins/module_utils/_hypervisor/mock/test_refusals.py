# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the mock refuses, with the codes that libvirt's backend has for it."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils._hypervisor.mock.one_vm import (
    edited,
    files,
    look,
    path,
    remove,
    revert,
)
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils.values import (
    codes,
    take,
)

__all__ = ("path",)


@pytest.mark.parametrize(
    ("values", "error_code"),
    [
        ({"managed_save": True, "state": "shutoff"}, "managed_save"),
        ({"managed_save": True, "state": "running"}, ""),
        ({"persistent": False}, "transient_domain"),
        ({"state": "pmsuspended"}, "bad_state"),
        ({"state": "crashed"}, ""),
    ],
)
def test_states_of_a_vm(path: str, values: dict[str, Any], error_code: str) -> None:
    with edited(path) as (_state, native):
        native.update(values)
    assert codes([take(path, "s3"), revert(path), remove(path)]) == [error_code] * 3


def test_disks_of_another_time(path: str) -> None:
    with edited(path) as (_state, native):
        native["disks"][0]["source"] = "/vm/another.qcow2"
    outcome = revert(path)
    assert codes([outcome]) == ["disks_changed"]
    assert "vda is another disk now" in outcome.msg
    with edited(path) as (_state, native):
        native["disks"] = [
            {"target": "vdb", "source": "/vm/b.qcow2"},
            {"target": "sda", "source": None, "device": "cdrom"},
        ]
    outcome = revert(path)
    assert outcome.error is not None
    assert outcome.error.details == {"removed": ["vda"], "added": ["vdb"], "replaced": []}


def test_files_that_are_gone(path: str) -> None:
    with edited(path) as (state, native):
        native["disks"][0]["source"] = "/vm/a.qcow2"
        state["files"]["/vm/a.vda.s1.qcow2"] = None
    for outcome in (revert(path, "s2"), remove(path, "s2")):
        assert codes([outcome]) == ["file_missing"]
        assert outcome.error is not None
        assert outcome.error.details == {"files": ["/vm/a.vda.s1.qcow2"]}
    with edited(path) as (state, native):
        native["disks"][0]["source"] = "/vm/a.vda.s2.qcow2"
    assert codes([remove(path, "s1")]) == ["chain_mismatch"]
    assert codes([revert(path, "s1")]) == [""]  # its own state is there


def test_a_mixed_snapshot_is_refused(path: str) -> None:
    with edited(path) as (_state, native):
        native["snapshots"][1]["kind"] = "mixed"
    assert codes([revert(path, "s2"), remove(path, "s2")]) == ["mixed_chain"] * 2


def test_an_image_that_holds_snapshots_inside_stays(path: str) -> None:
    inside = {"name": "i1", "kind": "internal", "disks": [{"target": "vda"}]}
    with edited(path) as (_state, native):
        native["snapshots"].append(inside)
    assert look(path)[0].find("i1").disks[0].base == "/vm/a.qcow2"  # type: ignore[union-attr]
    assert codes([revert(path, "i1"), remove(path, "i1")]) == ["mixed_chain"] * 2
    outcome = remove(path, "s1")
    assert (outcome.changed, outcome.files_removed) == (True, ())
    assert {"/vm/a.qcow2", "/vm/a.vda.s1.qcow2", "/vm/a.vda.s2.qcow2"} == files(path)
