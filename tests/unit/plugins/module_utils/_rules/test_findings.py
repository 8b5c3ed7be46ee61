# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one word for a VM is its worst, and unknown is not ok."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.findings import findings, told, word
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.storage import Storage
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import Operation
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils.values import snapshot, vm

LOST = replace(snapshot("s"), missing_files=("/vm/s",))
LEFT = Operation("revert", "s", "then")


@pytest.mark.parametrize(
    ("machine", "storage", "said"),
    [
        ({}, {}, "ok"),
        ({"snapshots": (snapshot("s"),)}, {}, "ok"),
        ({}, {"unknown_overlays": ("/vm/x",), "orphans": ("/vm/x",)}, "look"),
        ({}, {"notes": ("a",)}, "look"),
        ({}, {"problems": ("a",)}, "act"),
        ({"snapshots": (LOST,)}, {}, "act"),
        ({"operation": LEFT}, {}, "act"),
        ({"operation": replace(LEFT, running=True)}, {}, "ok"),
        ({}, {"notes": ("a",), "problems": ("b",)}, "act"),
        ({"untold": ("storage",)}, {}, None),
        ({"untold": ("storage",), "operation": LEFT}, {}, "act"),
    ],
)
def test_the_worst_is_the_word(machine: dict[str, Any], storage: dict[str, Any], said: str | None) -> None:
    assert word(vm(**machine), Storage((), **storage)) == said


def test_what_to_act_on_is_told_first_and_nothing_is_told_twice() -> None:
    storage = Storage((), unknown_overlays=("/vm/x", "/vm/y"), orphans=("/vm/y",), problems=("a",), notes=("b",))
    found = findings(vm(snapshots=(LOST, replace(LOST, name="t"))), storage)
    assert told(found) == "Act: 1 problem, 2 missing files. Look: 2 unknown overlays, 1 note"
    assert told(()) == ""
