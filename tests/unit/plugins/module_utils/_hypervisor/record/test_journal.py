# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Journals on disk: each kind comes back as it was, an earlier release's too, and an unknown one is refused."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.firmware_notes import (
    FirmwareCopying,
    FirmwareReturn,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.journal import (
    Journal,
    RemoveJournal,
    RevertJournal,
    RevertPhase,
    TakeJournal,
    from_json,
    to_json,
)

BEGUN = ("s1", "2026-01-01T00:00:00+00:00", "2026-01-02T00:00:00+00:00")
REVERT = {"overlays": {"vda": "/vm/new"}, "power": "paused", "was": {"vda": ("/vm/a", "raw")}, "was_power": "running"}


@pytest.mark.parametrize(
    "journal",
    [
        TakeJournal(*BEGUN, files=("/vm/a", "/vm/b")),
        TakeJournal(*BEGUN, files=("/vm/a", "/vm/c"), nvram=FirmwareCopying("/vm/n", "/vm/c", "raw")),
        TakeJournal(*BEGUN, files=("/vm/a", "/vm/c"), tpm=FirmwareCopying("/vm/t", "/vm/c", "permall")),
        RevertJournal(*BEGUN, tpm=FirmwareReturn("/vm/t", "/vm/t.new", "/vm/t.was", {"/vm/v": "/vm/v.was"})),
        RevertJournal(*BEGUN, nvram=FirmwareReturn("/vm/n", "/vm/n.new", "/vm/n.was")),
        RemoveJournal(*BEGUN, memory_files=("/vm/m",), merging=("/vm/top", "/vm/base"), bandwidth=20, boot_id="b"),
        *(RevertJournal(*BEGUN, **REVERT, phase=phase) for phase in RevertPhase),
    ],
)
def test_a_journal_comes_back_as_it_was(journal: Journal) -> None:
    assert from_json(to_json(journal)) == journal


def test_every_kind_writes_the_same_keys_for_earlier_releases() -> None:
    keys = [set(to_json(one)) for one in (TakeJournal(*BEGUN), RemoveJournal(*BEGUN), RevertJournal(*BEGUN))]
    assert keys[0] == keys[1] == keys[2]


@pytest.mark.parametrize(
    ("phase", "expected"),
    [
        ({}, RevertPhase.PREPARING),
        ({"committed": True}, RevertPhase.SWITCHING),
        ({"committed": True, "settling": True}, RevertPhase.DROPPING),
    ],
)
def test_a_phase_is_read_from_what_stood_there_before_phases_had_names(
    phase: dict[str, Any], expected: RevertPhase
) -> None:
    journal = from_json({"kind": "revert", "snapshot": "s1", **phase})
    assert isinstance(journal, RevertJournal)
    assert journal.phase is expected


def test_a_stop_of_an_earlier_release_may_have_begun_with_its_run() -> None:
    written = to_json(RevertJournal(*BEGUN, **REVERT))
    del written["stopping_at"]
    journal = from_json(written)
    assert isinstance(journal, RevertJournal)
    assert journal.stopping_at == journal.started_at != ""


def test_what_a_later_release_does_is_refused_by_its_name() -> None:
    with pytest.raises(ValueError, match="'hold'"):
        from_json({"kind": "hold", "snapshot": "s1"})
