# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a wish comes to for one VM."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.taking.existing_snapshot import existing_snapshot
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.taking.freeze import decide_freeze
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.taking.memory import resolve_memory
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.request import SnapshotRequest
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils.values import snapshot, vm

INVTSC = ("the CPU feature invtsc is required and no TSC frequency is set",)
VIRTIOFS = ("the virtiofs file system share is attached",)
MEMORY: dict[str, Any] = {"include_memory": True}
ELSE_DISK_ONLY: dict[str, Any] = {"include_memory": True, "on_memory_blocked": "disk_only"}


def test_a_snapshot_is_disk_only_unless_memory_is_asked_for() -> None:
    assert SnapshotRequest("s").disk_only is True
    assert SnapshotRequest("s", include_memory=True).disk_only is False


@pytest.mark.parametrize(
    ("wish", "state", "blockers", "memory", "note"),
    [
        ({}, "running", INVTSC, False, ""),
        (MEMORY, "running", (), True, ""),
        (MEMORY, "paused", (), True, ""),
        (MEMORY, "shutoff", INVTSC, False, "web01 is shutoff and has no memory to save"),
        (MEMORY, "crashed", (), False, "web01 is crashed and has no memory to save"),
        (ELSE_DISK_ONLY, "running", (), True, ""),
        (ELSE_DISK_ONLY, "running", INVTSC, False, f"memory left out: {INVTSC[0]}"),
    ],
)
def test_memory_is_saved_where_there_is_any(
    wish: dict[str, Any], state: str, blockers: tuple[str, ...], *, memory: bool, note: str
) -> None:
    resolved, notes = resolve_memory(vm(power=state, memory_blockers=blockers), SnapshotRequest("s", **wish))
    assert resolved.include_memory is memory
    assert notes == ((note,) if note else ())


@pytest.mark.parametrize(("blockers", "tsc"), [(INVTSC, True), (VIRTIOFS, False), (INVTSC + VIRTIOFS, True)])
def test_blocked_memory_names_every_blocker_and_its_ways_out(blockers: tuple[str, ...], tsc: bool) -> None:
    with pytest.raises(KvmError) as caught:
        resolve_memory(vm(memory_blockers=blockers), SnapshotRequest("s", include_memory=True))
    assert caught.value.error_code == "memory_blocked"
    assert caught.value.details == {"blockers": list(blockers)}
    assert all(blocker in caught.value.message for blocker in blockers)
    assert "include_memory: false" in caught.value.remedy
    assert ("TSC frequency" in caught.value.remedy) is tsc


DISK_ONLY = {"state": "disk-snapshot"}
WITH_MEMORY = {"state": "running", "include_memory": True}


@pytest.mark.parametrize(
    ("there", "wish", "blockers"),
    [
        (DISK_ONLY, {}, ()),
        (WITH_MEMORY, MEMORY, ()),
        ({"state": "shutoff"}, MEMORY, ()),
        ({"state": "crashed"}, MEMORY, ()),
        (DISK_ONLY, ELSE_DISK_ONLY, INVTSC),
        (DISK_ONLY, {"disks": ("vda",)}, ()),
        (DISK_ONLY, {"description": "another", "quiesce": "required"}, ()),
    ],
)
def test_a_snapshot_that_is_as_asked_is_found(
    there: dict[str, Any], wish: dict[str, Any], blockers: tuple[str, ...]
) -> None:
    found = snapshot("s", parent="other", **there)
    there_now = vm(memory_blockers=blockers, snapshots=(snapshot("other"), found, snapshot("sibling")))
    assert existing_snapshot(there_now, SnapshotRequest("s", **wish)) is found


def test_a_name_in_other_letters_is_not_found() -> None:
    assert existing_snapshot(vm(snapshots=(snapshot("S"),)), SnapshotRequest("s")) is None


@pytest.mark.parametrize(
    ("there", "wish", "says"),
    [
        (WITH_MEMORY, {}, "holds the memory too"),
        (DISK_ONLY, MEMORY, "holds no memory"),
        (DISK_ONLY, ELSE_DISK_ONLY, "holds no memory"),
        (DISK_ONLY, {"disks": ("vda", "vdb")}, "covers vda, and vda, vdb was asked for"),
        ({"disks": ()}, {"disks": ("vda",)}, "covers no disk"),
    ],
)
def test_a_snapshot_that_holds_something_else_is_refused(
    there: dict[str, Any], wish: dict[str, Any], says: str
) -> None:
    with pytest.raises(KvmError) as caught:
        existing_snapshot(vm(snapshots=(snapshot("s", **there),)), SnapshotRequest("s", **wish))
    assert caught.value.error_code == "snapshot_mismatch"
    assert says in caught.value.message
    assert caught.value.details["existing"]["name"] == "s"


@pytest.mark.parametrize(
    ("quiesce", "state", "agent", "wish", "freeze", "note"),
    [
        ("auto", "running", True, {}, True, ""),
        ("required", "running", True, {}, True, ""),
        ("never", "running", True, {}, False, ""),
        ("auto", "running", False, {}, False, "no guest agent answers"),
        ("auto", "paused", True, {}, False, "the guest is paused"),
        ("auto", "shutoff", False, {}, False, "nothing to freeze"),
        ("required", "shutoff", False, {}, False, "nothing to freeze"),
        ("auto", "running", True, MEMORY, False, "the saved memory holds"),
    ],
)
def test_a_guest_is_frozen_only_where_it_helps(
    quiesce: str, state: str, wish: dict[str, Any], note: str, *, agent: bool, freeze: bool
) -> None:
    decided, notes = decide_freeze(vm(power=state, guest_agent=agent), SnapshotRequest("s", quiesce=quiesce, **wish))
    assert decided is freeze
    assert [note in one for one in notes] == ([True] if note else [])


@pytest.mark.parametrize(("state", "agent", "says"), [("running", False, "no guest agent"), ("paused", True, "paused")])
def test_a_required_freeze_that_cannot_be_is_refused(state: str, agent: bool, says: str) -> None:
    with pytest.raises(KvmError, match=says) as caught:
        decide_freeze(vm(power=state, guest_agent=agent), SnapshotRequest("s", quiesce="required"))
    assert caught.value.error_code == "agent_unavailable"
