# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the mock makes of the work of a run that was killed."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.mock.hypervisor import MockHypervisor
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.remove import Absent, every
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.deadline import Deadline
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils._hypervisor.mock.one_vm import (
    edited,
    look,
    path,
    remove,
    revert,
)
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils.values import (
    do,
    take,
)

__all__ = ("path",)


@pytest.mark.parametrize("kind", ["remove", "revert"])
def test_a_run_that_is_killed(path: str, kind: str) -> None:
    with edited(path) as (_state, native):
        native["slow_seconds"] = 30
    before, _storage = look(path)
    run = os.fork()
    if run == 0:
        remove(path, "s1") if kind == "remove" else revert(path)
        os._exit(0)
    operation = None
    end = time.monotonic() + 10
    while time.monotonic() < end and not (operation and (operation.percent is not None or kind == "revert")):
        time.sleep(0.05)
        operation = look(path)[0].operation
    assert operation is not None
    assert (operation.kind, operation.snapshot, operation.running) == (kind, "s1", True)
    (waiting,) = do(path, Absent(every), check_mode=True)
    assert (waiting.changed, "another run is at work on it" in waiting.msg) == (False, True)
    os.kill(run, 9)
    os.waitpid(run, 0)
    vm, _storage = look(path)
    assert vm.interrupted is not None
    assert vm.snapshots == before.snapshots
    with edited(path) as (_state, native):
        native["slow_seconds"] = 0
    outcome = revert(path, "s2")
    assert f"interrupted {'removal of' if kind == 'remove' else 'revert to'} snapshot 's1'" in outcome.recovered
    assert [one.name for one in outcome.after] == (["s2"] if kind == "remove" else ["s1", "s2"])


@pytest.mark.parametrize(
    ("kind", "snapshot", "sentence"),
    [
        ("remove", "gone", "Finished the interrupted removal of snapshot 'gone'."),
        ("take", "s1", "Finished the interrupted taking of snapshot 's1'."),
        ("take", "none", "Undid the interrupted taking of snapshot 'none'."),
        ("revert", "s1", "Undid the interrupted revert to snapshot 's1'."),
    ],
)
def test_what_is_said_of_what_was_left(path: str, kind: str, snapshot: str, sentence: str) -> None:
    with edited(path) as (_state, native):
        native["operation"] = {"kind": kind, "snapshot": snapshot, "started_at": "x"}
    assert take(path, "s1").recovered == sentence
    assert MockHypervisor(path).recover(look(path)[0], Deadline(1)).msg == ""


@pytest.mark.parametrize("operation", [{}, {"kind": "x", "snapshot": "s", "started_at": ""}, {"kind": "take"}])
def test_an_operation_that_is_none(path: str, operation: dict[str, Any]) -> None:
    with edited(path) as (_state, native):
        native["operation"] = operation
    with pytest.raises(KvmError) as caught:
        MockHypervisor(path)
    assert caught.value.error_code == "bad_request"
