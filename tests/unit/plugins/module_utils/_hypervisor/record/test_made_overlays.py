# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which images an overlay was made on, also where the headers do not tell that any more."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.made_overlays import (
    bases,
    still_there,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.vm_record import Made


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
