# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking on the mock: guest agents that fail, memory that cannot be saved, and firmware."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.mock.hypervisor import MockHypervisor
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.deadline import Deadline
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.request import SnapshotRequest
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils._hypervisor.mock.looks import code
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils.values import machine, state_file, take


@pytest.mark.parametrize(
    ("agent", "quiesce", "error_code", "taken", "note"),
    [
        ("silent", "auto", "", True, "not quiesced: the guest agent did not freeze"),
        ("silent", "required", "quiesce_failed", False, ""),
        ("thaws_early", "auto", "", True, "thawed before the snapshot was complete"),
        ("thaws_early", "required", "quiesce_lost", True, ""),
        ("stuck", "auto", "thaw_failed", True, ""),
        ("stuck", "required", "thaw_failed", True, ""),
        ("none", "required", "agent_unavailable", False, ""),
        ("stuck", "never", "", True, ""),
    ],
)
def test_a_guest_agent_that_fails_is_told(
    tmp_path: Path, agent: str, quiesce: str, error_code: str, note: str, *, taken: bool
) -> None:
    outcome = take(state_file(tmp_path, machine("a", agent=agent)), quiesce=quiesce)
    assert (code(outcome), outcome.changed) == (error_code, taken)
    assert [note in one for one in outcome.notes] == ([True] if note else [])
    assert not (outcome.snapshot and outcome.snapshot.quiesced)


def test_a_freeze_that_takes_too_long_is_lost(tmp_path: Path) -> None:
    path = state_file(tmp_path, machine("a", agent="running", slow_seconds=1.1))
    outcome = take(path, quiesce_timeout=1)
    assert "reached its limit of 1 seconds" in str(outcome.notes)
    assert outcome.snapshot is not None
    assert outcome.snapshot.quiesced is False


def test_memory_that_takes_too_long_is_not_saved(tmp_path: Path) -> None:
    path = state_file(tmp_path, machine("a", slow_seconds=30))
    before = Path(path).read_text()
    outcome = take(path, timeout=1, include_memory=True)
    assert (code(outcome), outcome.changed) == ("timeout", False)
    assert Path(path).read_text() == before


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"cpu": {"invtsc": True}}, "invtsc is required"),
        ({"cpu": {"mode": "host-passthrough", "migratable": False}}, "migratable='off'"),
        ({"host_devices": ["pci"]}, "host device of type pci"),
        ({"filesystems": [{"type": "virtiofs"}]}, "virtiofs file system share"),
        ({"filesystems": [{"type": "9p", "target": "home"}]}, "9p file system home"),
        ({"disks": [{"target": "vda", "source": "/vm/a.vmdk", "format": "vmdk"}]}, "image format vmdk"),
        ({"cpu": {"mode": "host-passthrough"}}, ""),
        ({"cpu": {"invtsc": True, "tsc_frequency": 2400000000}}, ""),
        ({"cpu": {"migratable": False, "invtsc": False}}, ""),
        ({"host_devices": ["usb"]}, ""),
    ],
)
def test_what_blocks_saving_memory_is_told_and_refused(tmp_path: Path, values: dict[str, Any], says: str) -> None:
    path = state_file(tmp_path, machine("a", **values))
    outcome = take(path, include_memory=True)
    assert (code(outcome), outcome.changed) == (("memory_blocked", False) if says else ("", True))
    assert says in outcome.msg
    hypervisor = MockHypervisor(path)
    vm = hypervisor.inspect(hypervisor.vms()[0])
    if says:  # also when somebody does not ask first
        plan = hypervisor.plan_take(vm, SnapshotRequest("t", include_memory=True))
        with pytest.raises(KvmError) as caught:
            hypervisor.take(plan, Deadline(1))
        assert caught.value.error_code == "memory_blocked"


def test_firmware_state_is_told(tmp_path: Path) -> None:
    vm = machine("a", firmware="efi", tpm=True, uuid="4b1d")
    outcome = take(state_file(tmp_path, vm, files={"/var/lib/libvirt/swtpm/4b1d/tpm2/tpm2-00.permall": None}))
    assert outcome.snapshot is not None
    assert [part.target for part in outcome.snapshot.left_out] == ["nvram", "tpm"]
    assert [note.split(":")[0] for note in outcome.notes[:2]] == ["not quiesced", "nvram"]
