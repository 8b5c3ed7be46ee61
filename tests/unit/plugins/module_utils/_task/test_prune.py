# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files a prune lets go, by what the storage of the VM tells."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Optional
from unittest.mock import Mock

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.retention import Choice, Retention
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.action import Nothing
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.prune import Prune, Pruning
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.storage import Leftover, Storage

LEFT = Leftover("/vm/left", "detached", "it was vda of web", "vda")


@pytest.mark.parametrize(
    ("undecided", "snapshot", "gone"),
    [((), None, ["/vm/left"]), (("vda",), None, []), ((), "s1", [])],
    ids=["nobody needs it", "nobody said which image is the newest", "a snapshot names it"],
)
def test_what_a_disk_has_left_goes_where_nothing_speaks_for_it(
    undecided: tuple[str, ...], snapshot: Optional[str], gone: list[str]
) -> None:
    left = Leftover(LEFT.file, LEFT.why, LEFT.reason, LEFT.target, snapshot=snapshot)
    storage = Storage((), leftovers=(left,), definition_changed=undecided)
    hypervisor = Mock(**{"storage.return_value": storage, "cannot_delete.return_value": None})
    prune = Prune(Retention(detached=True), datetime.now(timezone.utc))
    plan = prune.plan(hypervisor, Mock(snapshots=()), Choice((), {}))
    assert isinstance(plan, Pruning if gone else Nothing)
    assert list(getattr(plan, "orphans", ())) == gone


def test_a_file_that_cannot_be_deleted_is_told_before_anything() -> None:
    error = KvmError("file_in_use", "Process 42 has it open.")
    storage = Storage((), orphans=("/vm/a",))
    hypervisor = Mock(**{"storage.return_value": storage, "cannot_delete.return_value": error})
    prune = Prune(Retention(orphans=True), datetime.now(timezone.utc))
    with pytest.raises(KvmError, match="has it open"):
        prune.plan(hypervisor, Mock(snapshots=()), Choice((), {}))


@pytest.mark.parametrize(
    ("files", "told"),
    [
        (("/vm/a",), "1 orphan deleted"),
        (("/vm/a", "/vm/b", "/vm/left"), "2 orphans and 1 kept overlay deleted"),
        (("/vm/left",), "1 kept overlay deleted"),
        ((), "no orphan deleted"),
    ],
)
def test_what_was_deleted_is_called_what_info_calls_it(files: tuple[str, ...], told: str) -> None:
    vm = Mock(snapshots=(), power="running")
    hypervisor = Mock(**{"delete_orphans.return_value": files})
    plan = Pruning(vm, Choice((), {}), None, ("/vm/a", "/vm/b", "/vm/left"), given_up=("/vm/left",))
    outcome = Prune(Retention(orphans=True), datetime.now(timezone.utc)).act(hypervisor, plan, Mock())
    assert (outcome.msg, outcome.orphans_removed) == (told, files)
