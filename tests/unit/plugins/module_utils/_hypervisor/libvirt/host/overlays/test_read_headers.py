# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What lies in a directory is read once: images by what they are based on, memory by the images that it needs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest.importorskip("lxml")

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.file_identity import file_key
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.mounts import Mounts
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.overlays import read_headers
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.overlays.image_directory import (
    Header,
)
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils._hypervisor.libvirt.disks.image_folder import (
    Folder,
)


def read(folder: Path, known: dict[str, Header]) -> tuple[dict[str, Header], list[str]]:
    unread: list[str] = []
    found = dict(read_headers.HeaderReader(Mounts()).read(list(os.scandir(folder)), known, unread))
    return found, unread


def test_an_overlay_is_known_by_what_it_is_based_on(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    base = folder.image("base")
    over = folder.image("over", "base")
    found, unread = read(tmp_path, {})
    assert (found[over].backing, found[over].based_on, found[over].memory) == ((base,), (base, file_key(base)), False)
    assert (found[base].backing, unread) == ((), [])


def test_what_has_not_changed_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Folder(tmp_path)
    folder.chain("base", "over")
    found, _unread = read(tmp_path, {})
    monkeypatch.setattr(read_headers, "head_of", lambda file: pytest.fail(f"{file} was read again"))
    assert read(tmp_path, found)[0] == found


def test_memory_is_known_by_the_images_that_it_needs(tmp_path: Path) -> None:
    domain = "<domain><devices><disk device='disk'><source file='/vm/top'/></disk></devices></domain>"
    (tmp_path / "friday.save").write_text(f"LibvirtQemudSave{domain}")
    (tmp_path / "cut.save").write_text("LibvirtQemudSave")
    found, unread = read(tmp_path, {})
    assert {file: (one.backing, one.memory) for file, one in found.items()} == {
        f"{tmp_path}/friday.save": (("/vm/top",), True)
    }
    assert unread == []
