# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which images an overlay was made on, also where the headers do not tell that any more."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.made_overlays import (
    bases,
    made_for_any,
    noted_of,
    still_there,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.vm_record import Made, Record, Records
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.image_changes import Fingerprint, Identity
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import VmId


def made(*files: str) -> dict[str, Made]:
    """Return notes of a chain, the newest last; the first file was not made here."""
    return {file: Made("vda", base=base) for base, file in zip(files, files[1:])}


def test_all_that_an_overlay_was_made_on_is_known() -> None:
    assert bases(made("/disk", "/a", "/b"), "/b") == ["/a", "/disk"]
    assert bases(made("/disk", "/a", "/b"), "/a") == ["/disk"]
    assert not bases(made("/disk", "/a"), "/disk")
    assert not bases({"/a": Made("vda")}, "/a")  # noted by a version that did not ask


def test_notes_in_a_circle_end() -> None:
    assert bases({"/a": Made(base="/b"), "/b": Made(base="/a")}, "/a") == ["/b", "/a"]


def test_an_overlay_that_is_gone_hands_on_what_it_was_made_on(tmp_path: Path) -> None:
    disk, gone, there = (str(tmp_path / name) for name in ("disk", "gone", "there"))
    Path(there).touch()
    assert still_there(made(disk, gone, there)) == {there: Made("vda", base=disk)}
    Path(gone).touch()
    assert still_there(made(disk, gone, there)) == made(disk, gone, there)
    assert still_there({there: Made("vda")}) == {there: Made("vda")}


def test_what_was_made_and_noted_is_found_for_vms_by_their_records(tmp_path: Path) -> None:
    records = Records(str(tmp_path))
    records.write(
        VmId("a", "1"), Record(made=made("/disk", "/a"), images={"/disk": Fingerprint(Identity(1, 1), since=1)})
    )
    records.write(VmId("b", "2"), Record(made=made("/disk", "/b")))
    (tmp_path / "3.json").write_text("spoilt")
    assert made_for_any(records) == {"/a", "/b"}
    assert [noted_of(records, uuid) for uuid in ("1", "2", "3", "4")] == [("/disk",), (), (), ()]
