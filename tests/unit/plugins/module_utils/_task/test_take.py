# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A snapshot that is there is noted otherwise: what is given changes, alone or together, and nothing else."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Optional

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.mock.hypervisor import MockHypervisor
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.outcome import VmOutcome
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.take import Present
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.request import SnapshotRequest
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils.values import do, machine, state_file

TAKEN = datetime(2026, 11, 4, 12, 0, tzinfo=timezone.utc)
NOW = TAKEN + timedelta(days=20)
THERE = {
    "name": "s",
    "created_at": TAKEN.isoformat(),
    "owned": True,
    "description": "before",
    "protected": True,
    "labels": {"by": "me"},
    "expires": "2026-12-24T00:00:00+00:00",
    "disks": [{"target": "vda", "file": "/vm/web01.s.qcow2", "base": "/vm/web01.qcow2"}],
}


@pytest.fixture
def path(tmp_path: Path) -> str:
    disks = [{"target": "vda", "source": "/vm/web01.s.qcow2"}]
    files = {
        "/vm/web01.s.qcow2": {"format": "qcow2", "backing_file": "/vm/web01.qcow2"},
        "/vm/web01.qcow2": {"format": "qcow2"},
    }
    return state_file(tmp_path, machine("web01", disks=disks, snapshots=[THERE], current="s"), files=files)


def present(path: str, check_mode: bool = False, **wish: Any) -> VmOutcome:
    (outcome,) = do(path, Present(SnapshotRequest("s", **wish), NOW), check_mode)
    return outcome


def kept(path: str) -> dict[str, Any]:
    entry = json.loads(Path(path).read_text())["vms"][0]["snapshots"][0]
    return {key: entry[key] for key in THERE if key != "disks"}


@pytest.mark.parametrize(
    ("wish", "changed", "words", "diff"),
    [
        (
            {"description": "two\nlines"},
            {"description": "two\nlines"},
            "description",
            ('description of s: "before"\n', 'description of s: "two\\nlines"\n'),
        ),
        ({"description": ""}, {"description": ""}, "description", ("", 'description of s: ""\n')),
        (
            {"protected": False},
            {"protected": False},
            "protection",
            ("s: disk-only, vda, protected, by=me", "s: disk-only, vda, by=me"),
        ),
        ({"labels": {}}, {"labels": {}}, "labels", ("by=me", "s: disk-only, vda, protected, current\n")),
        (
            {"expires": "30d"},
            {"expires": "2026-12-04T12:00:00+00:00"},
            "expiry",
            ("s expires: 2026-12-24T00:00:00+00:00\n", "s expires: 2026-12-04T12:00:00+00:00\n"),
        ),
        ({"expires": "never"}, {"expires": None}, "expiry", ("s expires: 2026", "s expires: never\n")),
        (
            {"description": "x", "protected": False, "labels": {"a": "b"}, "expires": "2027-01-01"},
            {"description": "x", "protected": False, "labels": {"a": "b"}, "expires": "2027-01-02T00:00:00+00:00"},
            "description, protection, labels and expiry",
            ("s expires: 2026-12-24T00:00:00+00:00\n", "s expires: 2027-01-02T00:00:00+00:00\n"),
        ),
    ],
)
def test_check_do_check_again_do_again(
    path: str, wish: dict[str, Any], changed: dict[str, Any], words: str, diff: tuple[str, str]
) -> None:
    before = kept(path)
    told = present(path, True, **wish)
    assert kept(path) == before
    done = present(path, **wish)
    assert kept(path) == {**before, **changed}
    assert told.msg == f"snapshot 's' already exists; its {words} would be changed"
    assert done.msg == f"snapshot 's' already exists; its {words} changed"
    assert (told.before_text, told.after_text) == (done.before_text, done.after_text)
    assert diff[0] in done.before_text
    assert diff[1] in done.after_text
    assert told.snapshot == done.snapshot
    for check_mode in (True, False):
        again = present(path, check_mode, **wish)
        assert (again.changed, again.msg) == (False, "snapshot 's' already exists")
        assert again.snapshot == done.snapshot


@pytest.mark.parametrize(
    "wish",
    [
        {},
        {"description": "before"},
        {"labels": {"by": "me"}, "protected": True},
        {"expires": "2026-12-23"},
        {"expires": "1188h"},
    ],
)
def test_what_is_not_given_or_is_the_same_changes_nothing(path: str, wish: dict[str, Any]) -> None:
    before = Path(path).read_text()
    assert not present(path, **wish).changed
    assert Path(path).read_text() == before


@pytest.mark.parametrize("check_mode", [True, False])
def test_a_hypervisor_that_keeps_no_notes_refuses_in_check_mode_too(
    path: str, monkeypatch: pytest.MonkeyPatch, check_mode: bool
) -> None:
    before = Path(path).read_text()
    refusal = KvmError("not_supported", "It keeps none.", "Nothing was changed.")
    monkeypatch.setattr(MockHypervisor, "cannot_annotate", lambda _self: refusal)
    assert present(path, check_mode, description="other").error is refusal
    assert not present(path, check_mode, description="before").changed
    assert Path(path).read_text() == before


@pytest.mark.parametrize("check_mode", [True, False])
def test_an_expiry_that_would_be_over_is_refused_and_nothing_else_changed(path: str, check_mode: bool) -> None:
    before = Path(path).read_text()
    outcome = present(path, check_mode, expires="14d", description="other")
    assert outcome.error is not None
    assert outcome.error.error_code == "bad_request"
    assert "would have expired at 2026-11-18T12:00:00+00:00" in outcome.msg
    assert Path(path).read_text() == before


def test_an_expiry_that_is_over_since_stays_without_a_word(path: str) -> None:
    """The task that has set it runs again after it is over: nothing is other than it was asked for."""
    present(path, expires="21d")
    (outcome,) = do(path, Present(SnapshotRequest("s", expires="21d"), NOW + timedelta(days=9)))
    assert (outcome.error, outcome.changed) == (None, False)


@pytest.mark.parametrize(
    ("wish", "expires"),
    [
        ({}, None),
        ({"expires": "never"}, None),
        ({"expires": "2h"}, 7200),
        ({"expires": "2999-12-31"}, "3000-01-01T00:00:00+00:00"),
    ],
)
def test_a_new_one_expires_as_it_is_told(tmp_path: Path, wish: dict[str, Any], expires: Optional[object]) -> None:
    (tmp_path / "new").mkdir()
    path = state_file(tmp_path / "new", machine("web01"))
    (told,) = do(path, Present(SnapshotRequest("s", **wish)), check_mode=True)
    (done,) = do(path, Present(SnapshotRequest("s", **wish)))
    assert told.snapshot
    assert done.snapshot
    assert told.after_text == done.after_text  # it says nothing that is known afterwards only
    if isinstance(expires, int):
        taken = datetime.fromisoformat(str(done.snapshot.created_at))
        assert done.snapshot.expires == (taken + timedelta(seconds=expires)).isoformat()
        said = datetime.fromisoformat(str(told.snapshot.expires))
        assert abs(said - taken - timedelta(seconds=expires)) < timedelta(minutes=1)
    else:
        assert (told.snapshot.expires, done.snapshot.expires) == (expires, expires)
    assert json.loads(Path(path).read_text())["vms"][0]["snapshots"][0]["expires"] == done.snapshot.expires
