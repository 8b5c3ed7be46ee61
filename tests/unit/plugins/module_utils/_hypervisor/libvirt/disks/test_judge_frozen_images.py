# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Noting frozen images on a real file system, and looking at them again."""

from __future__ import annotations

import os
import shutil
import struct
from pathlib import Path

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.vm_record import Record, SnapshotRecord
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.image_changes import Past

pytest.importorskip("lxml")
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks import judge_frozen_images
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.judge_frozen_images import (
    Frozen,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.note_frozen_images import (
    foreseen,
    is_soon,
    looked_at,
    states_of,
    with_taken,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.mounts import Mount, Mounts
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.saved_snapshot import (
    Saved,
    SavedDisk,
)


@pytest.fixture(autouse=True)
def true_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the file system be one that tells true times, whatever the tests run on."""
    monkeypatch.setattr(Mounts, "of", lambda _self, _path: Mount("/", "ext4", "1:1"))


def image(file: Path, backing: str = "", bitmaps: int = 0, data: int = 0) -> str:
    """Write a qcow2 image of one table, which says that the first cluster is ``data``."""
    head = struct.pack(
        ">4sIQIIQIIQQII", b"QFI\xfb", 3, 1024 if backing else 0, len(backing), 16, 1 << 20, 0, 1, 65536, 0, 0, 0
    )
    head = head.ljust(100, b"\0") + struct.pack(">I", 104)
    head += struct.pack(">II", 0xE2792ACA, 5) + b"qcow2\0\0\0"
    if bitmaps:
        head += struct.pack(">IIIIQQ", 0x23852875, 24, bitmaps, 0, 64, 0)
    head = (head.ljust(1024, b"\0") + backing.encode()).ljust(65536, b"\0")
    tables = struct.pack(">Q", 131072 | 1 << 63).ljust(65536, b"\0") + struct.pack(">Q", data).ljust(65536, b"\0")
    file.write_bytes(head + tables)
    os.utime(file, ns=(1, os.stat(file).st_mtime_ns + 1))  # never the same as before
    return str(file)


def saved(name: str, state: str, overlay: str, created_at: str = "2026-11-26T00:00:00+00:00") -> Saved:
    disks = (SavedDisk("vda", state, "qcow2", overlay),)
    return Saved(name, created_at, None, "external", "running", "no", None, disks, (), (), None)


@pytest.fixture
def row(tmp_path: Path) -> tuple[Record, list[Saved]]:
    """Two snapshots, s1 on base and s2 on its overlay, both noted."""
    base = image(tmp_path / "base", bitmaps=2)
    middle = image(tmp_path / "middle", base)
    top = image(tmp_path / "top", middle)
    snapshots = [saved("s1", base, middle), saved("s2", middle, top)]
    return taken(Record(), *snapshots), snapshots


def taken(record: Record, *snapshots: Saved) -> Record:
    for number, one in enumerate(snapshots, 1):
        record = with_taken(record, one, states_of(snapshots[:number]))
        key = next(iter(states_of([one])))
        record = Record(
            snapshots={**record.snapshots, key: SnapshotRecord(serial=record.serial)},
            images=record.images,
            serial=record.serial,
        )
    return record


def pasts(record: Record, snapshots: list[Saved]) -> dict[str, str]:
    looking = Frozen(record, states_of(snapshots))
    return {one.name: looking.past(one).past for one in snapshots}


def test_images_as_they_were_are_unchanged(row: tuple[Record, list[Saved]], tmp_path: Path) -> None:
    assert pasts(*row) == {"s1": "unchanged", "s2": "unchanged"}
    assert set(row[0].images) == {str(tmp_path / "base"), str(tmp_path / "middle")}
    assert looked_at(*row) == row[0]


@pytest.mark.parametrize(
    ("file", "past"),
    [
        ("base", {"s1": "changed", "s2": "changed"}),
        ("middle", {"s1": "unchanged", "s2": "changed"}),
    ],
)
def test_an_image_that_was_written_to_is_told(
    row: tuple[Record, list[Saved]], tmp_path: Path, file: str, past: dict[str, str]
) -> None:
    with open(tmp_path / file, "ab") as stream:
        stream.write(b"x")
    assert pasts(*row) == past
    seen = looked_at(*row)
    assert pasts(seen, row[1]) == past
    later = saved("s3", str(tmp_path / "top"), str(tmp_path / "next"))
    assert pasts(taken(seen, *row[1], later), [later]) == {"s3": "unchanged"}


def test_bitmaps_that_were_removed(row: tuple[Record, list[Saved]], tmp_path: Path) -> None:
    image(tmp_path / "base", bitmaps=1)
    assert pasts(*row) == {"s1": "unproven", "s2": "unproven"}
    image(tmp_path / "base")
    assert pasts(*row) == {"s1": "unproven", "s2": "unproven"}
    image(tmp_path / "base", data=1 << 17)
    assert pasts(*row) == {"s1": "changed", "s2": "changed"}


def test_somebody_else_removed_a_snapshot(row: tuple[Record, list[Saved]], tmp_path: Path) -> None:
    record, (_first, second) = row
    base = image(tmp_path / "base", data=1 << 17)
    rebased = saved("s2", base, second.disks[0].overlay or "")
    assert pasts(record, [rebased]) == {"s2": "unproven"}
    assert pasts(looked_at(record, [rebased]), [rebased]) == {"s2": "unproven"}


def test_what_is_gone_is_not_forgotten(row: tuple[Record, list[Saved]], tmp_path: Path) -> None:
    shutil.move(tmp_path / "base", tmp_path / "elsewhere")
    assert pasts(*row) == {"s1": "unproven", "s2": "unproven"}
    seen = looked_at(*row)
    shutil.move(tmp_path / "elsewhere", tmp_path / "base")
    assert pasts(seen, row[1]) == {"s1": "unchanged", "s2": "unchanged"}


def test_a_moved_image_is_unchanged_where_its_time_is(row: tuple[Record, list[Saved]], tmp_path: Path) -> None:
    shutil.copy2(tmp_path / "base", tmp_path / "moved")
    moved = saved("s1", str(tmp_path / "moved"), str(tmp_path / "middle"))
    assert pasts(row[0], [moved]) == {"s1": "unchanged"}
    shutil.copy(tmp_path / "base", tmp_path / "moved")
    assert pasts(row[0], [moved]) == {"s1": "unproven"}


@pytest.mark.parametrize("link", [True, False])
def test_what_was_moved_and_written_to_since(row: tuple[Record, list[Saved]], tmp_path: Path, link: bool) -> None:
    (tmp_path / "base").rename(tmp_path / "moved")
    if link:
        (tmp_path / "base").symlink_to("moved")
    moved = saved("s1", str(tmp_path / "moved"), str(tmp_path / "middle"))
    assert pasts(row[0], [moved]) == {"s1": "unchanged"}
    with open(tmp_path / "moved", "ab") as stream:
        stream.write(b"x")
    assert pasts(row[0], [moved]) == {"s1": "changed"}


def test_a_moved_image_that_was_changed_is_not_taken_for_its_noted_copy(
    row: tuple[Record, list[Saved]], tmp_path: Path
) -> None:
    with open(tmp_path / "base", "ab") as stream:
        stream.write(b"x")
    copy = shutil.copy2(tmp_path / "base", tmp_path / "copy")
    of_copy = saved("s3", str(copy), str(tmp_path / "next"))
    record = with_taken(row[0], of_copy, states_of([*row[1], of_copy]))
    (tmp_path / "base").rename(tmp_path / "moved")
    moved = saved("s1", str(tmp_path / "moved"), str(tmp_path / "middle"))
    assert pasts(record, [moved]) == {"s1": "changed"}


def test_what_cannot_be_proven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = image(tmp_path / "base")
    one = saved("s1", base, str(tmp_path / "top"))
    assert foreseen([base], str(tmp_path)) == Past()
    assert "block device" in foreseen(["/dev/null"], None).reasons[0]
    for kind, word in (("nfs4", "other hosts"), ("vfat", "no exact times"), ("", "unknown")):
        monkeypatch.setattr(Mounts, "of", lambda _self, _path, kind=kind: Mount("/", kind, "1:1"))
        assert word in foreseen([base], None).reasons[0]
        record = taken(Record(), one)
        assert record.images == {}
        assert pasts(record, [one]) == {"s1": "unproven"}


def test_a_kill_before_the_note(tmp_path: Path) -> None:
    base = image(tmp_path / "base")
    assert is_soon(saved("s1", base, "", "2099-01-01T00:00:00+00:00"))
    assert not is_soon(saved("s1", base, "/x", "2020-01-01T00:00:00+00:00"))
    assert not is_soon(saved("s1", str(tmp_path / "none"), "/x", "2099-01-01T00:00:00+00:00"))


def test_it_is_on_the_disk_before_it_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    monkeypatch.setattr(judge_frozen_images.os, "fsync", lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}")))
    base, middle = image(tmp_path / "base"), image(tmp_path / "middle", str(tmp_path / "base"))
    record = taken(Record(), saved("s1", base, middle))
    assert synced == [base]
    taken(record, saved("s2", middle, str(tmp_path / "top")))
    assert synced == [base, middle]
