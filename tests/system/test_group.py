# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The VMs of a group on one host: held together, cut together, and never left suspended, whatever is killed."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest
from lab.api import Host, reset_vm

from .guest import files_of, is_writing, wait_for
from .planted import Planted, planted, snapshot_names

__all__ = ("planted",)

# Each takes ten seconds: `make group` runs all of them, every other run a few.
slow = pytest.mark.skipif("LIMIQUANTIX_KVM_GROUP" not in os.environ, reason="make group")
_VMS = ("db01", "tsc01")
_MOMENTS = {"begin": 4.0, "cut": 4.6, "release": 5.4, "hard_end": 9.0}


@pytest.fixture
def host(planted: Planted) -> Host:
    """The host, with pristine members that run; tsc01 does not on each."""
    reset_vm(planted.host, *_members(planted))
    return planted.host


def _members(planted: Planted) -> tuple[str, ...]:
    return _VMS if planted.host.invtsc else ("db01",)


def _take(planted: Planted, fault: str = "", **options: Any) -> dict[str, Any]:
    return planted.group(fault, *_members(planted), name="g", step="take", **{**_MOMENTS, **options})


def _all_run(host: Host, planted: Planted) -> bool:
    return all(host.virsh("domstate", vm).strip() == "running" for vm in _members(planted))


def _undone(host: Host, planted: Planted) -> None:
    """Undo the group, and assert that nothing of it is left."""
    result = planted.group("", *_members(planted), name="g", step="undo")
    assert not result.get("failed"), result["msg"]
    for vm in _members(planted):
        assert snapshot_names(host, vm) == []
        assert files_of(host, vm) == {f"{vm}.qcow2"}
    assert _all_run(host, planted)
    assert is_writing(host, "db01")


@slow
def test_members_of_one_host_stand_still_together_while_they_are_switched(host: Host, planted: Planted) -> None:
    result = _take(planted)
    assert not result.get("failed"), result["msg"]
    stamps = list(result["group"]["members"].values())
    assert len(stamps) == len(_members(planted))
    assert [one["disturbed"] for one in stamps] == [""] * len(stamps)
    assert max(one["held"] for one in stamps) <= min(one["switched_from"] for one in stamps)
    assert max(one["switched_to"] for one in stamps) <= min(one["released"] for one in stamps)
    assert {vm["snapshot"]["labels"]["group"] for vm in result["vms"]} == {"g1"}
    assert all("group_pending" in vm["snapshot"]["labels"] for vm in result["vms"])
    assert _all_run(host, planted)
    confirmed = planted.group("", *_members(planted), name="g", step="confirm")
    assert [sorted(vm["snapshot"]["labels"]) for vm in confirmed["vms"]] == [["group", "group_members"]] * len(stamps)
    left = planted.group("", *_members(planted), name="g", step="undo")
    assert not left["changed"], "what is confirmed is not undone"


@pytest.mark.parametrize(
    "step",
    [
        pytest.param("take_steps.Taking, '_make_overlays'", marks=slow),
        pytest.param("hold._Hold, 'held'", marks=slow),
        "take_steps.Taking, '_switch'",
        pytest.param("hold.Meeting, 'last'", marks=slow),
        pytest.param("take_steps.Taking, '_write_record'", marks=slow),
    ],
)
def test_a_module_killed_at_any_step_leaves_every_member_running(host: Host, planted: Planted, step: str) -> None:
    killed = _take(planted, f"before({step}, die)")
    assert killed == {"killed": True}
    wait_for("the members", lambda: _all_run(host, planted), 10)
    again = planted.group("", *_members(planted), name="g", step="finish")
    assert not again.get("failed"), again["msg"]
    for vm in again["vms"]:
        names = snapshot_names(host, vm["vm"])
        kept = planted.info(vm["vm"])["snapshots"]
        assert [("group_pending" in one["labels"]) for one in kept] == [True] * len(names), "a taking lost its group"
    _undone(host, planted)


@slow
def test_a_guard_that_is_killed_too_is_replaced_by_the_next_run(host: Host, planted: Planted) -> None:
    both = "lambda: (subprocess.run(['pkill', '-KILL', '-f', 'thaw_guard import main']), die())"
    assert _take(planted, f"before(take_steps.Taking, '_switch', {both})") == {"killed": True}
    assert not _all_run(host, planted), "nothing was suspended: the test is blind"
    _undone(host, planted)


@slow
@pytest.mark.parametrize(
    "then", ["", "; subprocess.run(['virsh', 'suspend', 'db01'], check=True, capture_output=True)"]
)
def test_a_member_that_somebody_resumes_is_told_of(host: Host, planted: Planted, then: str) -> None:
    # It runs for a moment between the two: this time is what is found out.
    fault = f"""
def resume():
    if not done:
        done.append(1)
        subprocess.run(['virsh', 'resume', 'db01'], check=True, capture_output=True)
        time.sleep(0.3){then}
done = []
before(hold.Meeting, 'last', resume)"""
    result = _take(planted, fault)
    uuids = {vm["vm"]: vm["uuid"] for vm in result["vms"]}
    assert "somebody" in result["group"]["members"][uuids["db01"]]["disturbed"]
    assert _all_run(host, planted)
    _undone(host, planted)


@slow
def test_no_member_is_held_longer_than_the_hard_end(host: Host, planted: Planted) -> None:
    started = time.monotonic()
    # Beyond the hard end, which is a time.
    result = _take(planted, "before(hold.Meeting, 'last', lambda: time.sleep(6))", hard_end=7.0)
    assert time.monotonic() - started > 9
    assert all(one["disturbed"] for one in result["group"]["members"].values())
    _undone(host, planted)


@slow
def test_a_member_that_is_late_leaves_all_as_they_are(host: Host, planted: Planted) -> None:
    # Beyond the appointment, which is a time.
    result = _take(planted, "before(take_steps.Taking, '_make_overlays', lambda: time.sleep(7))")
    assert {vm["error_code"] for vm in result["vms"]} == {"appointment_missed"}
    assert result["group"]["members"] == {}
    assert _all_run(host, planted)
    for vm in _members(planted):
        assert snapshot_names(host, vm) == []
        assert files_of(host, vm) == {f"{vm}.qcow2"}


@slow
def test_a_member_that_somebody_suspended_and_one_that_is_off_stay_so(host: Host, planted: Planted) -> None:
    host.virsh("suspend", "db01")
    if planted.host.invtsc:
        host.virsh("destroy", "tsc01")
    result = _take(planted)
    assert not result.get("failed"), result["msg"]
    assert [one["disturbed"] for one in result["group"]["members"].values()] == [""] * len(_members(planted))
    assert host.virsh("domstate", "db01").strip() == "paused"
    if planted.host.invtsc:
        assert host.virsh("domstate", "tsc01").strip() == "shut off"
