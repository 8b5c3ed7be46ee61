# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Room is added up over all the VMs of a task that share a file system."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.mock.hypervisor import MockHypervisor
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.free_space import without_room
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils.values import plan, state_file

MIB = 1 << 20
DIRECTORIES = {
    "/a": {"filesystem": "one", "total": 1000 * MIB, "free": 100 * MIB},
    "/b": {"filesystem": "one", "total": 1000 * MIB, "free": 100 * MIB},
    "/big": {"total": 1 << 50, "free": 5 << 30},
    "/ro": {"read_only": True},
}


@pytest.mark.parametrize(
    ("needs", "refused"),
    [
        ({"a": [("/a", 50)]}, {}),
        ({"a": [("/a", 51)]}, {"a": "no_space"}),  # a twentieth stays free
        ({"a": [("/a", 25)], "b": [("/b", 25)]}, {}),
        ({"a": [("/a", 26)], "b": [("/b", 25)]}, {"a": "no_space", "b": "no_space"}),
        ({"a": [("/a", 25), ("/b", 26)], "c": [("/big", 1)]}, {"a": "no_space"}),
        ({"a": [("/big", 4096)]}, {}),  # of a huge one, a GiB
        ({"a": [("/big", 4097)]}, {"a": "no_space"}),
        ({"a": [("/ro", 1)], "b": [("/a", 1)]}, {"a": "overlay_dir_unusable"}),
        ({"a": [("/gone", 1), ("/a", 1)]}, {"a": "overlay_dir_unusable"}),
        ({"a": []}, {}),
    ],
)
def test_plans_that_do_not_fit_together_are_refused(
    tmp_path: Path, needs: dict[str, list[tuple[str, int]]], refused: dict[str, str]
) -> None:
    hypervisor = MockHypervisor(state_file(tmp_path, directories=DIRECTORIES))
    plans = [plan(name, *((directory, size * MIB) for directory, size in wanted)) for name, wanted in needs.items()]
    found = without_room(hypervisor, plans)
    assert {uuid: error.error_code for uuid, error in found.items()} == {
        f"uuid-of-{name}": code for name, code in refused.items()
    }


def test_a_shortage_says_the_numbers(tmp_path: Path) -> None:
    hypervisor = MockHypervisor(state_file(tmp_path, directories=DIRECTORIES))
    error = without_room(hypervisor, [plan("x", ("/a", 60 * MIB))])["uuid-of-x"]
    assert "100 MiB are free, the snapshots need 60 MiB" in error.message
    assert error.details["free_bytes"] == 100 * MIB
    assert error.details["directory"] == "/a"
