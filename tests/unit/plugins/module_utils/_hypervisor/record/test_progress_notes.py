# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How far a merge is, told to whoever asks: the time left is that of the layer at hand, and never guessed."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record import progress_notes
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.progress_notes import (
    Progress,
    ProgressNotes,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import VmId

WEB, DB = VmId("web01", "w"), VmId("db01", "d")


@pytest.fixture
def notes(tmp_path: Path) -> ProgressNotes:
    return ProgressNotes(lambda vm_id: str(tmp_path / f"{vm_id.uuid}.percent"))


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        ([(0, 40)], Progress(40)),
        ([(0, 40), (10, 40)], Progress(40)),
        ([(0, 40), (10, 60)], Progress(60, 20)),
        ([(0, 0), (10, 10), (50, 50)], Progress(50, 50)),
        ([(0, 90), (10, 99), (20, 1)], Progress(1)),  # the next layer
        ([(0, 90), (10, 99), (20, 1), (30, 11)], Progress(11, 89)),
        ([(0, 50), (5, 100)], Progress(100, 0)),
        ([(0, 50), (5, None)], Progress()),
        ([(0, 10), (5, None), (90, 50), (100, 60)], Progress(60, 40)),
    ],
)
def test_the_time_left(
    notes: ProgressNotes, monkeypatch: pytest.MonkeyPatch, seen: list[tuple[float, int | None]], expected: Progress
) -> None:
    for now, percent in seen:
        monkeypatch.setattr(progress_notes.time, "monotonic", lambda now=now: now)
        notes.note(WEB, percent)
        notes.note(DB, 1)
    assert (notes.read(WEB), notes.read(DB)) == (expected, Progress(1))


@pytest.mark.parametrize("text", ["", "x", "1 2 3", "40 soon"])
def test_what_cannot_be_read_is_not_known(notes: ProgressNotes, tmp_path: Path, text: str) -> None:
    tmp_path.joinpath("w.percent").write_text(text, "utf-8")
    assert notes.read(WEB) == Progress()
    assert notes.read(DB) == Progress()
