# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What disturbed a VM that was held."""

from __future__ import annotations

from typing import Optional

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.guest import hold

_RUNNING, _PAUSED, _OFF = 1, 3, 5


@pytest.mark.parametrize(
    ("before", "after", "disturbed"),
    [
        ((_PAUSED, [7, 8]), (_PAUSED, [7, 8]), ""),
        ((_PAUSED, None), (_PAUSED, [7]), ""),
        ((_OFF, None), (_OFF, None), ""),
        ((_RUNNING, None), (_RUNNING, None), "it was running"),
        ((_PAUSED, None), (_RUNNING, None), "somebody changed it from paused to running meanwhile"),
        ((_PAUSED, [7]), (_PAUSED, [9]), "somebody resumed it and suspended it again meanwhile"),
    ],
)
def test_a_vm_that_ran_between_two_looks_was_disturbed(
    before: tuple[int, Optional[list[int]]], after: tuple[int, Optional[list[int]]], disturbed: str
) -> None:
    assert hold._difference(before, after) == disturbed


def test_a_vm_that_stands_still_needs_no_reason() -> None:
    assert hold._why_not(_RUNNING) == " (running)"
    assert hold._why_not(_PAUSED) == ""
    assert hold._why_not(_OFF) == ""
