# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One run at a time on a VM: who waits too long is told by whom."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.vm_lock import held, lock
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.deadline import Deadline
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError


def test_a_lock_is_held_until_the_block_ends(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    assert not held(path)
    with lock(path, "web01", Deadline(1)):
        assert held(path)
    assert not held(path)


def test_who_has_waited_in_vain_is_told_the_holder(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    with lock(path, "web01", Deadline(1)):
        with pytest.raises(KvmError, match=f"pid {os.getpid()}") as refused, lock(path, "web01", Deadline(0)):
            pass
        assert (refused.value.error_code, refused.value.details) == ("locked", {"pid": str(os.getpid())})
    with lock(path, "web01", Deadline(0)):
        pass


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(KvmError) as refused, lock(str(tmp_path / "none/lock"), "web01", Deadline(0)):
        pass
    assert refused.value.error_code == "record_unusable"
