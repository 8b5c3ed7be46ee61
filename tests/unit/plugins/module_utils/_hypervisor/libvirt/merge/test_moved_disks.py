# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An older definition that somebody puts back while a removal is half done is told from one that went on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lxml")

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.merge.moved_disks import (
    keep_left,
    last_on,
    note_moving,
    refuse_older,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.journal import RemoveJournal
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.vm_record import Made, Record
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils._hypervisor.libvirt.disks.image_folder import (
    Folder,
)


class Handle:
    """A VM of which only its record and its disks are asked."""

    name = "web01"

    def __init__(self, record: Record, **disks: str) -> None:
        self._record, self._disks = record, disks
        self.written: list[Record] = []

    def record(self) -> Record:
        return self._record

    def write(self, record: Record, durable: bool = False) -> None:
        self.written.append(record)

    def tops(self) -> list[tuple[str, str]]:
        return list(self._disks.items())


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    made = Folder(tmp_path)
    made.chain("disk", "a", "b")
    made.image("copy")
    return made


def journal(was: dict[str, str], **values: Any) -> RemoveJournal:
    return RemoveJournal("s1", None, was=was, **values)


def test_where_a_disk_goes_is_noted_before_it_goes() -> None:
    merging = journal({"vda": "/b"}, merging=("/b", "/a"))
    handle: Any = Handle(Record(journal=merging))
    note_moving(handle, ["vda"])
    assert [last_on(one) for one in handle.written] == [{"vda": "/a"}]
    note_moving(handle, [])
    assert len(handle.written) == 1


def test_without_a_removal_under_way_it_is_what_the_record_says() -> None:
    assert last_on(Record(active={"vda": "/b"})) == {"vda": "/b"}


def test_an_older_image_is_refused_and_a_newer_one_is_not(folder: Folder) -> None:
    was = journal({"vda": folder.file("b")})
    record = Record(overlays=(folder.file("a"), folder.file("b")), journal=was)
    older: Any = Handle(record, vda=folder.file("a"))
    with pytest.raises(KvmError) as refused:
        refuse_older(older, was)
    assert refused.value.error_code == "definition_changed"
    same: Any = Handle(record, vda=folder.file("b"))
    refuse_older(same, was)
    assert not same.written


def test_who_copied_the_disk_elsewhere_keeps_the_overlay(folder: Folder) -> None:
    was = journal({"vda": folder.file("b")})
    handle: Any = Handle(Record(made={folder.file("b"): Made("vda")}, journal=was), vda=folder.file("copy"))
    keep_left(handle, refuse_older(handle, was))
    assert [one.kept for one in handle.written] == [(folder.file("b"),)]


@pytest.mark.parametrize("older_first", [True, False])
def test_an_older_image_is_seen_beside_the_newer_one_of_the_same_disk(folder: Folder, older_first: bool) -> None:
    """A VM runs on one image and is defined on another."""
    was = journal({"vda": folder.file("b")})
    handle: Any = Handle(Record(overlays=(folder.file("a"), folder.file("b")), journal=was))
    images = ["a", "b"] if older_first else ["b", "a"]
    handle.tops = lambda: [("vda", folder.file(image)) for image in images]
    with pytest.raises(KvmError) as refused:
        refuse_older(handle, was)
    assert refused.value.error_code == "definition_changed"


def test_what_a_detached_disk_was_on_is_left_unless_another_disk_is_on_it_now(folder: Folder) -> None:
    was = journal({"vdb": folder.file("b")})
    record = Record(overlays=(folder.file("b"),), journal=was)
    detached: Any = Handle(record, vda=folder.file("copy"))
    assert refuse_older(detached, was) == {folder.file("b")}
    renamed: Any = Handle(record, sda=folder.file("b"))
    assert refuse_older(renamed, was) == set()
