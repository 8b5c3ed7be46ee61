# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a guest is frozen for a snapshot, and what is told where it was not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.taking.freeze import (
    Freeze,
    decide_freeze,
    freeze_seconds,
    notes_on,
    require_frozen,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.deadline import Deadline
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.plan import SnapshotPlan
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.request import SnapshotRequest
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils.values import plan, vm


def wanted(quiesce: str, **values: int) -> SnapshotPlan:
    return replace(plan("web01"), request=SnapshotRequest("s", quiesce=quiesce, **values), freeze=True, notes=("n",))


@pytest.mark.parametrize(
    ("quiesce", "values", "freezes", "note"),
    [
        ("auto", {"guest_agent": True}, True, ""),
        ("never", {"guest_agent": True}, False, ""),
        ("auto", {}, False, "no guest agent answers"),
        ("auto", {"power": "paused", "guest_agent": True}, False, "the guest is paused and cannot answer"),
        ("auto", {"power": "shutoff"}, False, "there is nothing to freeze"),
        ("required", {"power": "shutoff"}, False, "there is nothing to freeze"),
        ("auto", {"untold": ("guest_agent",)}, False, "qx-node does not tell"),
    ],
)
def test_a_guest_is_frozen_only_where_its_agent_answers(
    quiesce: str, values: dict[str, object], freezes: bool, note: str
) -> None:
    found, notes = decide_freeze(vm(**values), SnapshotRequest("s", quiesce=quiesce))
    assert found is freezes
    assert note in "".join(notes)
    assert bool(notes) is bool(note)


def test_saved_memory_needs_no_freeze() -> None:
    found, notes = decide_freeze(vm(guest_agent=True), SnapshotRequest("s", include_memory=True))
    assert (found, len(notes)) == (False, 1)


def test_a_freeze_that_is_required_and_cannot_be_is_refused() -> None:
    with pytest.raises(KvmError) as refused:
        decide_freeze(vm(), SnapshotRequest("s", quiesce="required"))
    assert refused.value.error_code == "agent_unavailable"


def test_a_freeze_lasts_a_second_at_least_and_no_longer_than_the_task() -> None:
    assert freeze_seconds(wanted("auto", quiesce_timeout=30), Deadline(100)) == 30
    assert freeze_seconds(wanted("auto", quiesce_timeout=30), Deadline(7.5)) == 7
    assert freeze_seconds(wanted("auto", quiesce_timeout=30), Deadline(0)) == 1


def test_a_freeze_that_has_not_begun_stops_a_task_that_requires_it() -> None:
    require_frozen(wanted("auto"), Freeze(reason="silent"))
    require_frozen(wanted("required"), Freeze(held=True))
    with pytest.raises(KvmError, match="silent") as refused:
        require_frozen(wanted("required"), Freeze(reason="silent"))
    assert refused.value.error_code == "quiesce_failed"


def test_a_freeze_that_was_lost_is_told_or_fails_the_task() -> None:
    assert notes_on(wanted("required"), Freeze(held=True)) == ("n",)
    assert notes_on(wanted("auto"), Freeze(reason="late")) == ("n", "not quiesced: late; it is crash-consistent")
    with pytest.raises(KvmError) as refused:
        notes_on(wanted("required"), Freeze(reason="late"))
    assert refused.value.error_code == "quiesce_lost"
