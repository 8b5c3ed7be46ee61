# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a take on the mock plans: which disks, which files, how much room."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.mock.hypervisor import MockHypervisor
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils._hypervisor.mock.looks import code
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils.values import machine, state_file, take


@pytest.mark.parametrize(
    ("disk", "error_code"),
    [
        ({"device": "cdrom"}, ""),
        ({"source": None, "device": "cdrom"}, ""),
        ({"readonly": True}, ""),
        ({"snapshot": "no"}, ""),
        ({"snapshot": "manual"}, ""),
        ({"type": "network"}, "disk_not_covered"),
        ({"device": "lun", "type": "block"}, "disk_not_covered"),
        ({"transient": True}, "disk_not_covered"),
        ({"shareable": True}, "disk_not_covered"),
        ({"type": "block"}, "overlay_dir_unusable"),
        ({"block_job": True}, "block_job_active"),
    ],
)
def test_a_second_disk_is_covered_or_refused(tmp_path: Path, disk: dict[str, Any], error_code: str) -> None:
    second = {"target": "vdb", "source": "/vm/second", **disk}
    path = state_file(tmp_path, {"name": "a", "disks": [{"target": "vda", "source": "/vm/a"}, second]})
    outcome = take(path)
    assert (code(outcome), outcome.changed) == (error_code, not error_code)
    if error_code == "disk_not_covered":
        without = take(path, on_uncovered="leave_out", check_mode=True).snapshot
        assert without is not None
        assert [part.target for part in without.left_out] == ["vdb"]
        assert take(path, disks=("vda",)).changed
    elif not error_code:
        assert outcome.snapshot is not None
        assert [part.target for part in outcome.snapshot.left_out] == ["vdb"]


@pytest.mark.parametrize("check_mode", [True, False])
@pytest.mark.parametrize(
    ("disks", "wish", "note"),
    [
        ([], {}, "it has no disks"),
        ([{"target": "sda", "device": "cdrom", "source": None}], {}, "sda: an empty drive"),
        ([{"target": "sda", "device": "cdrom", "source": "/x.iso"}], {"include_memory": True}, "sda: a cdrom"),
        (
            [{"target": "vda", "type": "network", "source": "x"}],
            {"on_uncovered": "leave_out"},
            "vda: of type 'network'",
        ),
        ([{"target": "vda", "source": "/vm/a", "snapshot": "no"}], {"on_uncovered": "leave_out"}, "snapshot='no'"),
    ],
)
def test_a_vm_without_a_disk_to_snapshot_is_nothing_to_do(
    tmp_path: Path, disks: list[dict[str, Any]], wish: dict[str, Any], note: str, *, check_mode: bool
) -> None:
    path = state_file(tmp_path, {"name": "a", "disks": disks})
    outcome = take(path, check_mode=check_mode, **wish)
    assert (code(outcome), outcome.changed, outcome.snapshot) == ("", False, None)
    assert note in outcome.notes[0]
    assert outcome.msg == outcome.notes[0]


def test_a_file_that_is_there_is_never_used_again(tmp_path: Path) -> None:
    path = state_file(tmp_path, machine("a"), files={"/vm/a.vda.s.qcow2": {"format": "qcow2"}})
    outcome = take(path)
    assert outcome.snapshot is not None
    assert outcome.snapshot.disks[0].file == "/vm/a.vda.s-2.qcow2"


def test_saved_memory_takes_room(tmp_path: Path) -> None:
    path = state_file(tmp_path, machine("a"), directories={"/vm": {"total": 1 << 40, "free": 1 << 39}})
    assert take(path, include_memory=True).changed
    assert MockHypervisor(path).room("/vm").free <= (1 << 39) - (1 << 30)
