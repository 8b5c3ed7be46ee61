# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM that is suspended when a killed take is recovered: by that run, or by somebody since."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.operations import take
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.journal import TakeJournal

RUNNING, PAUSED = 1, 3


@pytest.mark.parametrize(
    ("held", "state", "ago", "resumed", "told"),
    [
        (True, PAUSED, 5, True, False),
        (True, PAUSED, 3600, False, True),
        (False, PAUSED, 5, False, False),
        (True, RUNNING, 3600, False, False),
    ],
)
def test_who_has_suspended_it(held: bool, state: int, ago: int, resumed: bool, told: bool) -> None:
    calls: list[str] = []
    native: Any = SimpleNamespace(state=lambda: (state, 0), resume=lambda: calls.append("resume"))
    began = (datetime.now(timezone.utc) - timedelta(seconds=ago)).isoformat()
    handle: Any = SimpleNamespace(name="web01", native=native)
    said = take._let_go_on(handle, TakeJournal("s1", None, began, held=held))
    assert (calls == ["resume"], bool(said)) == (resumed, told)
    assert all("virsh resume web01" in text for text in said)
