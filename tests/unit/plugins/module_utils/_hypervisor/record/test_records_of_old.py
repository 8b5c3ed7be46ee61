# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Records that earlier versions wrote (tests/fixtures/records) are read, and written back without losing anything.

What becomes of the VMs that they tell of is tried on the lab: tests/system/test_old_records.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.journal import (
    RevertJournal,
    RevertPhase,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.vm_record import Record, Records
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.deadline import Deadline
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import Operation, VmId

_TESTS = next(folder for folder in Path(__file__).resolve().parents if folder.name == "tests")
_FILES = sorted((_TESTS / "fixtures/records").glob("*/*.json"))
_DOMAIN = VmId("records1", "some-uuid")
_OF_THE_WRITER = ("schema", "written_by")
# How far each revert was by the name of its file. The first version that noted the last phase is 4c5dd92; before, a revert
# that dropped what it had was not told from one that could still go back.
_PHASES = {
    "running-half_made": RevertPhase.PREPARING,
    "running-committed": RevertPhase.SWITCHING,
    "running-stopped": RevertPhase.SWITCHING,
    "running-defined": RevertPhase.SWITCHING,
    "off-to_running": RevertPhase.SWITCHING,
    "running-settling": RevertPhase.DROPPING,
    "off-half_dropped": RevertPhase.DROPPING,
    "running-ended": RevertPhase.DROPPING,
}


def _record(file: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))["record"]
    return values


def _of(*, first_format: bool) -> Any:
    files = [file for file in _FILES if ("quiesced" in _record(file)) == first_format]
    assert files
    return pytest.mark.parametrize("file", files, ids=lambda file: f"{file.parent.name}-{file.stem}")


class Host:
    """A directory of records with one that lies there."""

    def __init__(self, folder: Path, values: dict[str, Any]) -> None:
        self._file = folder / f"{_DOMAIN.uuid}.json"
        self._records = Records(str(folder))
        with self._records.lock(_DOMAIN, Deadline(1)):
            self._file.write_text(json.dumps(values), encoding="utf-8")

    def read(self) -> Record:
        return self._records.read(_DOMAIN)

    def operation(self) -> Optional[Operation]:
        return self._records.operation(_DOMAIN, self.read())

    def written_back(self) -> dict[str, Any]:
        self._records.write(_DOMAIN, self.read())
        values: dict[str, Any] = json.loads(self._file.read_text(encoding="utf-8"))
        return values


def _lost(was: dict[str, Any], now: dict[str, Any], at: str = "") -> Iterator[str]:
    """Yield what stood in a record and does not any more; what is empty, 0 or false may go unsaid."""
    for key, value in was.items():
        there = now.get(key)
        if isinstance(value, dict) and isinstance(there, dict):
            yield from _lost(value, there, f"{at}/{key}")
        elif value != there and (value or there):
            yield f"{at}/{key} was {value!r} and is {there!r}"


@_of(first_format=False)
def test_nothing_is_lost_when_it_is_written_back(tmp_path: Path, file: Path) -> None:
    values = _record(file)
    was = {key: value for key, value in values.items() if key not in _OF_THE_WRITER}
    assert list(_lost(was, Host(tmp_path, values).written_back())) == []


@_of(first_format=False)
def test_the_operation_that_was_interrupted_is_told_with_its_files(tmp_path: Path, file: Path) -> None:
    values = _record(file)
    journal, host = values["journal"], Host(tmp_path, values)
    if journal is None:
        assert host.operation() is None
        assert host.read().making == ()
        return
    told = host.operation()
    assert told == Operation(journal["kind"], journal["snapshot"], journal["started_at"], running=False, percent=None)
    assert host.read().making == (*journal["files"], *journal["overlays"].values())


@_of(first_format=True)
def test_what_the_first_version_noted_is_kept_in_the_format_of_today(tmp_path: Path, file: Path) -> None:
    values = _record(file)
    host = Host(tmp_path, values)
    now = host.written_back()
    assert {key: note["quiesced"] for key, note in now["snapshots"].items()} == values["quiesced"]
    assert all(note["owned"] for note in now["snapshots"].values())
    assert "taking" not in now
    assert (now["journal"] or {}).get("files", []) == values["taking"]
    assert host.read().making == tuple(values["taking"])
    told = host.operation()
    assert (told.kind if told else None) == ("take" if values["taking"] else None)


@pytest.mark.parametrize("phase", _PHASES)
@pytest.mark.parametrize("version", ["5c695b1", "4c5dd92"])
def test_a_revert_is_known_to_be_as_far_as_it_was(tmp_path: Path, version: str, phase: str) -> None:
    journal = Host(tmp_path, _record(_TESTS / f"fixtures/records/{version}/revert-{phase}.json")).read().journal
    expected = _PHASES[phase]
    if version == "5c695b1" and expected is RevertPhase.DROPPING:
        expected = RevertPhase.SWITCHING
    assert isinstance(journal, RevertJournal)
    assert journal.phase is expected
