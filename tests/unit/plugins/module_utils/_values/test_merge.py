# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How far a merge is, in words and in the result."""

from __future__ import annotations

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._values.merge import MergeProgress, as_time


@pytest.mark.parametrize(
    ("progress", "told"),
    [
        (MergeProgress(0, 0, 0, 0.0), "it has just begun"),
        (MergeProgress(50, 200, 0, 1.0), "25 % are done"),
        (MergeProgress(100, 200, 10, 1.0), "50 % are done, about 10 s left"),
        (MergeProgress(0, 1200, 10, 1.0), "0 % are done, about 2 min left"),
        (MergeProgress(0, 72000, 10, 1.0), "0 % are done, about 2 h left"),
    ],
)
def test_the_words_tell_only_what_is_known(progress: MergeProgress, told: str) -> None:
    assert str(progress) == told


def test_without_a_pace_nobody_tells_an_end() -> None:
    found = MergeProgress(50, 200, 0, 3.0).to_result()
    assert found == {"state": "running", "percent": 25, "bytes_per_second": None, "seconds_left": None}


def test_a_look_that_took_no_time_is_no_pace() -> None:
    assert MergeProgress(50, 200, 10, 0.0).bytes_per_second is None


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (119, "119 s"), (180, "3 min"), (7199, "119 min"), (9000, "2 h")]
)
def test_a_time_has_one_unit(seconds: int, text: str) -> None:
    assert as_time(seconds) == text
