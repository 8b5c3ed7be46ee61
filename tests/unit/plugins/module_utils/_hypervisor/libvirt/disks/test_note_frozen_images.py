# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is noted of images as a snapshot freezes them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.note_frozen_images import (
    foreseen,
    is_soon,
    made_of,
    states_before,
    states_of,
    with_left,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.file_identity import identity
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.mounts import Mount, Mounts
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.saved_snapshot import (
    Saved,
    SavedDisk,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.vm_record import Record, snapshot_key
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.devices import Disk
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import SnapshotDisk
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils.values import snapshot, vm

TAKEN = "2026-11-26T00:00:00+00:00"
SECONDS = 1795651200  # the same


def saved(state: str) -> Saved:
    disks = (SavedDisk("vda", state, "raw", "/vm/new"),)
    return Saved("s", TAKEN, None, "external", "shutoff", "no", None, disks, (), (), None)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    file = tmp_path / "image"
    file.touch()
    return file


def test_states_are_known_by_snapshot_and_by_real_path(image: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(image)
    key = snapshot_key("s", TAKEN)
    assert states_of([saved(str(tmp_path / "link"))]) == {key: {str(image)}}
    disk = SnapshotDisk("vda", "/vm/new", "qcow2", None, str(tmp_path / "link"))
    assert states_before(vm(snapshots=(snapshot("s", created_at=TAKEN, disks=(disk,)),))) == {key: {str(image)}}


@pytest.mark.parametrize(("seconds_later", "soon"), [(-60, True), (5, True), (60, False)])
def test_what_was_written_to_long_after_the_take_is_not_noted_late(image: Path, seconds_later: int, soon: bool) -> None:
    os.utime(image, (0, SECONDS + seconds_later))
    assert is_soon(saved(str(image))) is soon


def test_an_overlay_that_was_made_is_noted_with_its_identity(image: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(image)
    made = made_of({"vda": str(tmp_path / "link")})
    assert (made[str(image)].target, made[str(image)].identity) == ("vda", identity(str(image)))


def test_overlays_that_disks_have_left_are_kept_and_those_they_are_on_are_not() -> None:
    disk: Any = Disk("vda", "disk", "file", "/vm/now", "qcow2", False, False, False, True, None)
    record = Record(kept=("/vm/kept", "/vm/now"), active={"vda": "/vm/before", "vdb": "/vm/other"})
    assert with_left(record, [disk]) == ("/vm/before", "/vm/kept", "/vm/other")


def test_a_plan_foresees_where_nothing_can_be_proven(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Mounts, "of", lambda _self, _path: Mount("/", "ext4", "1:1"))
    assert foreseen([str(image)], None).past == "unchanged"
    monkeypatch.setattr(Mounts, "of", lambda _self, _path: Mount("/", "nfs4", "1:1"))
    assert foreseen([str(image)], None).past == "unproven"
