# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each file of module_utils has its unit tests where a reader looks for them, or stands in the one list of those without."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES, TESTS = ROOT / "plugins/module_utils", ROOT / "tests/unit/plugins/module_utils"

# Files in which nothing is decided without a host, with the reason: what proves them instead.
WITHOUT = {
    "_hypervisor/contract.py": "the ABC of every backend: tests/contract runs its promises over each",
    "_hypervisor/libvirt/connect/connection.py": "libvirt's own calls: tests/contract, and faults in tests/system",
    "_hypervisor/libvirt/host/kernel_holders.py": "reads /sys of a real kernel: tests/system/test_field_*.py",
    "_hypervisor/libvirt/hypervisor.py": "each call opens a VM and hands on: tests/contract",
    "_hypervisor/libvirt/merge/live_commit.py": "libvirt's block jobs: tests/contract, and killed in tests/soak",
    "_hypervisor/libvirt/merge/merge_layers.py": "puts live and offline merges in order on a VM: tests/contract, tests/soak",
    "_hypervisor/libvirt/operations/operation.py": "the shape of take, revert and remove: tests/contract",
    "_hypervisor/libvirt/operations/remove.py": "acts on a VM step by step: tests/contract, each step killed in tests/soak",
    "_hypervisor/libvirt/operations/reverting/start_checks.py": "looks at the host: tests/system/test_field_start.py",
    "_hypervisor/libvirt/operations/revert.py": "acts on a VM step by step: tests/contract, each step killed in tests/soak",
    "_hypervisor/libvirt/operations/take_steps.py": "the steps of a take: tests/contract, each step killed in tests/soak",
    "_hypervisor/libvirt/storage_findings.py": "asks every other file about a VM: tests/system/test_field_*.py",
    "_node_agent/errors.py": "two classes and no code",
    "_values/version.py": "one constant, which make release writes",
}
FILES = {path.relative_to(SOURCES).as_posix() for path in SOURCES.rglob("*.py") if path.name != "__init__.py"}


def has_its_test(name: str) -> bool:
    path = TESTS / name
    return path.with_name(f"test_{path.name}").is_file()


def test_the_whole_tree_is_looked_at() -> None:
    assert len(FILES) > 140
    assert any(map(has_its_test, FILES))


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_file_has_its_unit_tests_or_the_reason_why_not(name: str) -> None:
    assert has_its_test(name) != (name in WITHOUT), (
        f"{name} stands in WITHOUT and has tests: take it out of there"
        if name in WITHOUT
        else f"{name} has no test_{Path(name).name} at its place under tests/unit, and no reason in WITHOUT"
    )


def test_the_list_names_only_files_that_are_there() -> None:
    assert sorted(WITHOUT.keys() - FILES) == []
