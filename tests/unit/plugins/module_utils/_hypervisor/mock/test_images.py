# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The mock's images: which of them nothing needs, and what an older state file tells of them."""

from __future__ import annotations

from datetime import datetime, timezone

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.mock.hypervisor import MockHypervisor
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.retention import Retention
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.prune import Prune
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils._hypervisor.mock.one_vm import (
    edited,
    files,
    look,
    path,
    remove,
    revert,
)
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils.values import (
    do,
)

__all__ = ("path",)


def test_an_older_state_file_has_no_states_noted(path: str) -> None:
    with edited(path) as (_state, native):
        for snapshot in native["snapshots"]:
            for key in ("owned", "protected", "labels"):
                del snapshot[key]
            del snapshot["disks"][0]["base"]
        for key in ("overlays", "former", "operation"):
            native.pop(key, None)
    vm, _storage = look(path)
    assert [(one.disks[0].base, one.owned) for one in vm.snapshots] == [
        ("/vm/a.qcow2", False),
        ("/vm/a.vda.s1.qcow2", False),
    ]
    assert revert(path).changed
    assert remove(path).changed
    assert files(path) == {"/vm/a.qcow2"}


def test_only_overlays_that_nothing_needs_are_orphans(path: str) -> None:
    overlay = {"format": "qcow2", "size": 1, "backing_file": "/vm/a.qcow2"}
    with edited(path) as (state, _native):
        state["files"].update(
            {
                "/vm/lost": overlay,
                "/vm/on-lost": {**overlay, "backing_file": "/vm/lost"},
                "/vm/alone": {**overlay, "backing_file": None},
            }
        )
    vm, storage = look(path)
    assert storage.orphans == ("/vm/lost", "/vm/on-lost")
    assert set(storage.orphans) <= set(storage.unknown_overlays)
    hypervisor = MockHypervisor(path)
    asked = ["/vm/lost", "/vm/a.vda.s1.qcow2", "/vm/alone", "/vm/none"]
    assert hypervisor.delete_orphans(vm, asked) == ("/vm/lost",)
    assert files(path) == {"/vm/a.qcow2", "/vm/a.vda.s1.qcow2", "/vm/a.vda.s2.qcow2", "/vm/on-lost", "/vm/alone"}


def test_a_layer_that_only_an_orphan_holds_up_is_merged_with_its_snapshot(path: str) -> None:
    with edited(path) as (state, _native):
        state["files"]["/vm/lost"] = {"format": "qcow2", "size": 1, "backing_file": "/vm/a.qcow2"}
    prune = Prune(Retention(names=("s1",), orphans=True), datetime.now(timezone.utc))
    (told,), (done,) = do(path, prune, check_mode=True), do(path, prune)
    assert told.files_removed == done.files_removed == ("/vm/a.vda.s1.qcow2",)
    assert told.orphans_removed == done.orphans_removed == ("/vm/lost",)
    assert files(path) == {"/vm/a.qcow2", "/vm/a.vda.s2.qcow2"}
