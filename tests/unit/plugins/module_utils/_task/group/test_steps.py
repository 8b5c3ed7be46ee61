# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of a group on one host: a member is taken with all others or not at all."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.meeting import boot_id, boot_time
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.group import GROUP, PENDING
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.action import Nothing
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.group.steps import Confirm, Member, Step, group_step
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.request import SnapshotRequest
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils.values import snapshot, vm

GROUP_ID = "g1"


def member(pending_since: float | None = 0.0, group: str = GROUP_ID) -> Any:
    labels = {GROUP: group}
    if pending_since is not None:
        labels[PENDING] = f"{boot_id()} {boot_time() - pending_since:.3f}"
    return vm(snapshots=(snapshot("s", labels=labels),))


def asked(step: str, **values: Any) -> Step:
    now = boot_time()
    moments = {"boot_id": boot_id(), "begin": now + 1, "cut": now + 2, "release": now + 3, "hard_end": now + 9}
    appointment = {"step": step, "group": GROUP_ID, "late": False, "members": ["a", "b"], **moments, **values}
    params = {"appointment": appointment, "parallel": 4, "timeout": 600, "vms": ["a", "b"]}
    return group_step(params, SnapshotRequest("s", include_memory=False))


def code(call: Any, *arguments: Any) -> str:
    with pytest.raises(KvmError) as refused:
        call(*arguments)
    return refused.value.error_code


def test_a_member_that_has_the_snapshot_already_is_refused() -> None:
    action = Member(SnapshotRequest("s"))
    assert code(action.decide, vm(snapshots=(snapshot("s"),))) == "snapshot_mismatch"
    assert not isinstance(action.decide(vm()), Nothing)


def test_a_member_is_labelled_as_pending_and_can_be_removed_while_it_runs() -> None:
    step = asked("plan")
    wish: Any = step.action.decide(vm())
    assert step.only_looks
    assert wish.undoable
    assert wish.labels[GROUP] == GROUP_ID
    assert PENDING in wish.labels


def test_a_take_meets_all_members_of_this_host() -> None:
    step = asked("take")
    assert step.meeting is not None
    assert step.limits.parallel == 2
    assert step.to_result(GROUP_ID) == {"id": GROUP_ID, "boot_id": boot_id(), "members": {}}


def test_an_appointment_of_another_start_of_the_host_is_missed() -> None:
    assert code(lambda: asked("take", boot_id="another")) == "appointment_missed"


def test_a_confirmation_is_for_members_of_this_group_alone() -> None:
    confirm = Confirm("s", GROUP_ID, late=False)
    assert code(confirm.decide, vm()) == "snapshot_not_found"
    assert code(confirm.decide, member(group="another")) == "snapshot_not_found"
    assert isinstance(confirm.decide(member(pending_since=None)), Nothing)


def test_a_group_is_confirmed_soon_or_by_one_that_knows() -> None:
    hypervisor: Any = None
    old = member(pending_since=61.0)
    assert code(Confirm("s", GROUP_ID, late=False).plan, hypervisor, old, old.snapshots[0]) == "group_undecided"
    plan = Confirm("s", GROUP_ID, late=True).plan(hypervisor, old, old.snapshots[0])
    assert plan.snapshot.labels == {GROUP: GROUP_ID}


def test_a_late_undo_waits_for_the_run_that_may_be_at_work() -> None:
    chosen: Any = asked("undo", late=True).action
    assert code(chosen.decide, member(pending_since=10.0)) == "busy"
    assert not isinstance(chosen.decide(member(pending_since=91.0)), Nothing)
    assert isinstance(chosen.decide(member(pending_since=None)), Nothing)
    assert isinstance(chosen.decide(vm()), Nothing)


def test_a_finish_removes_nothing_of_its_own() -> None:
    assert isinstance(asked("finish").action.decide(member()), Nothing)
