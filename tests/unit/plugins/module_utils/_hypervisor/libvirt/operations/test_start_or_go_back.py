# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM that does not start on a snapshot is put back, and the error says where it is now."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.operations import start_or_go_back
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.operations.start_or_go_back import (
    power_afterwards,
    start_failed,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils.values import vm


class Handle:
    """A VM's handle, as far as it is named."""

    name, native = "web01", None


@pytest.mark.parametrize(
    ("power", "asked", "by_disks", "then"),
    [
        ("running", "restore", False, "running"),
        ("paused", "restore", False, "paused"),
        ("paused", "restore", True, "running"),
        ("crashed", "restore", False, "shutoff"),
        ("running", "shutoff", False, "shutoff"),
        ("shutoff", "paused", False, "paused"),
    ],
)
def test_a_vm_is_as_it_was_unless_the_task_says_otherwise(
    power: str, asked: str, by_disks: bool, then: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start_or_go_back, "paused_by_disks", lambda _vm, _native: by_disks)
    handle: Any = Handle()
    assert power_afterwards(handle, vm(power=power), asked) == then


FAILED = KvmError("file_unreachable", "It may not read /vm/a.", file="/vm/a")


def test_the_reason_stands_in_the_error_with_its_details() -> None:
    error = start_failed("web01", FAILED)
    assert (error.error_code, error.details) == ("start_failed", {"file": "/vm/a"})
    assert "web01 is reverted, but off" in error.message
