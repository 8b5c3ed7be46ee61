# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM, and what a run has begun on it."""

from __future__ import annotations

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import Operation
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils.values import snapshot, vm


@pytest.mark.parametrize(
    ("running", "percent", "interrupted", "goes_on"),
    [
        (True, None, False, False),
        (False, None, True, False),
        (False, 40, False, True),
        (False, 100, True, False),
        (True, 40, False, False),
    ],
)
def test_work_is_interrupted_only_where_nothing_goes_on_with_it(
    running: bool, percent: int | None, interrupted: bool, goes_on: bool
) -> None:
    operation = Operation("remove", "s", "2026-01-01T00:00:00+00:00", running, percent)
    assert (operation.interrupted, operation.goes_on) == (interrupted, goes_on)
    assert operation.to_result()["interrupted"] is interrupted
    assert (vm(operation=operation).interrupted is operation) is interrupted


@pytest.mark.parametrize(
    ("kind", "told"),
    [("take", "taking of snapshot 's'"), ("revert", "revert to snapshot 's'"), ("remove", "removal of snapshot 's'")],
)
def test_an_operation_is_named_as_people_say_it(kind: str, told: str) -> None:
    assert str(Operation(kind, "s", "")) == told


@pytest.mark.parametrize(
    ("power", "active"), [("running", True), ("paused", True), ("shutoff", False), ("crashed", False)]
)
def test_only_a_vm_with_a_process_has_memory(power: str, active: bool) -> None:
    assert vm(power=power).active is active


def test_a_snapshot_is_found_by_its_whole_name() -> None:
    found = vm(snapshots=(snapshot("s1"), snapshot("s10")))
    assert found.find("s10") == snapshot("s10")
    assert found.find("s") is None
