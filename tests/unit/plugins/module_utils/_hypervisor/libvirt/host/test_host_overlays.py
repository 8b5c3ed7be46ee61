# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is based on what, beyond one VM: strangers on its files, and names that lead to one file."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Optional

import pytest

pytest.importorskip("lxml")

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.backing_chain import (
    read,
    to_chain,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.any_format_backing import (
    backing_files,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.file_users import User, Users
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.host_overlays import HostFiles
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils._hypervisor.libvirt.disks.image_folder import (
    Folder,
    folder,
)

__all__ = ("folder",)


def strangers(
    folder: Folder,
    tops: Iterable[str],
    overlays: Iterable[str] = (),
    used: Iterable[str] = (),
    files: Optional[HostFiles] = None,
) -> list[str]:
    """Return the overlays on a VM's files that nothing knows; ``used`` are those that other VMs name."""
    own = {folder.file(name) for name in (*tops, *overlays)}
    own |= {str(below) for name in overlays for below in backing_files_of(folder.file(name))}
    users, files = Users(), files or HostFiles()
    for name in used:
        users.add(folder.file(name), User("VM other", "other", True, True))
    files.look_into({os.path.dirname(file) for file in own} | users.directories)
    return [os.path.relpath(file, folder.path) for file in files.strangers(own, own, users)]


def backing_files_of(file: str) -> list[str]:
    try:
        return backing_files(file)
    except OSError:
        return []


def test_strangers_on_any_file_of_the_vm(folder: Folder) -> None:
    folder.chain("template", "vm", "vm.one", "vm.two")
    folder.image("on-state", "vm")
    folder.image("on-one", "vm.one")
    folder.image("on-on-one", "on-one")
    folder.image("on-template", "template")
    assert strangers(folder, ["vm.two"], ["vm.one", "vm.two"]) == ["on-on-one", "on-one", "on-state"]


def test_a_branch_that_is_not_in_use_is_the_vms_own(folder: Folder) -> None:
    folder.chain("vm", "vm.one", "vm.two")
    folder.image("vm.left", "vm.one")
    folder.image("on-left", "vm.left")
    assert strangers(folder, ["vm.two"], ["vm.one", "vm.two", "vm.left"]) == ["on-left"]


def test_strangers_where_the_active_layer_is_gone(folder: Folder) -> None:
    folder.chain("vm", "vm.one")
    folder.image("on-base", "vm")
    assert strangers(folder, ["vm.two"], ["vm.one", "vm.two"]) == ["on-base"]


def test_another_domain_on_this_vms_image(folder: Folder) -> None:
    folder.chain("vm", "between", "elsewhere/clone", "elsewhere/clone.one")
    folder.image("elsewhere/on-clone", "elsewhere/clone")
    folder.image("on-between", "between")
    used = ["vm", "elsewhere/clone", "elsewhere/clone.one"]
    assert strangers(folder, ["vm"], used=used) == ["on-between"]
    assert strangers(folder, ["elsewhere/clone.one"], ["elsewhere/clone.one"], used) == ["elsewhere/on-clone"]


def test_a_directory_that_is_looked_into_again_shows_what_came_and_went(folder: Folder) -> None:
    folder.chain("vm", "stranger")
    files = HostFiles()
    assert strangers(folder, ["vm"], files=files) == ["stranger"]
    folder.image("later", "vm")
    assert strangers(folder, ["vm"], files=files) == ["later", "stranger"]
    os.unlink(folder.file("stranger"))
    assert strangers(folder, ["vm"], files=files) == ["later"]


def test_an_own_overlay_by_another_path_of_its_directory_is_no_stranger(
    folder: Folder, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """As a bind mount shows it; here it is a link that is taken for a directory."""
    folder.chain("vm", "vm.one")
    again = str(tmp_path_factory.mktemp("again") / "again")
    os.symlink(folder.path, again)
    files = HostFiles()
    files.look_into([str(folder.path), again])
    base, own = folder.file("vm"), folder.file("vm.one")
    assert files.above(base) == sorted([own, f"{again}/vm.one"])
    assert files.above(base, {own}) == [own]
    assert files.above(base, {f"{again}/vm.one"}) == [f"{again}/vm.one"]
    assert files.above(base, {base}) == sorted([own, f"{again}/vm.one"])


def test_what_takes_an_overlays_place_is_read_anew(folder: Folder) -> None:
    folder.chain("vm", "stranger")
    folder.image("other", "elsewhere")
    files = HostFiles()
    assert strangers(folder, ["vm"], files=files) == ["stranger"]
    os.replace(folder.file("other"), folder.file("stranger"))
    assert strangers(folder, ["vm"], files=files) == []


def test_an_overlay_stays_known_when_a_link_to_it_goes(folder: Folder) -> None:
    folder.chain("vm", "stranger")
    files = HostFiles()
    for _time in range(2):
        assert strangers(folder, ["vm"], files=files) == ["stranger"]
        os.symlink(folder.file("stranger"), folder.file("link"))
        assert strangers(folder, ["vm"], files=files) == ["stranger"]
        os.unlink(folder.file("link"))
    assert strangers(folder, ["vm"], files=files) == ["stranger"]


@pytest.mark.parametrize("name", ["file:{}", 'json:{{"driver":"qcow2","file":{{"driver":"file","filename":"{}"}}}}'])
def test_a_file_that_is_named_otherwise_is_the_same(folder: Folder, name: str) -> None:
    folder.chain("vm")
    text = name.format(folder.file("vm")).encode()
    header = struct.pack(">4sIQIIQ", b"QFI\xfb", 3, 104, len(text), 16, 1).ljust(104, b"\0")
    Path(folder.file("stranger")).write_bytes(header + text)
    assert strangers(folder, ["vm"]) == ["stranger"]


def test_a_hard_link_is_the_same_file(folder: Folder) -> None:
    folder.chain("vm")
    os.link(folder.file("vm"), folder.file("linked"))
    folder.image("stranger", "linked")
    assert strangers(folder, ["vm"]) == ["stranger"]


@pytest.mark.parametrize(
    "content",
    [
        b"QFI\xfb" + bytes(76),
        struct.pack(">4sIQIIQ", b"QFI\xfb", 3, 104, 4, 16, 1).ljust(100, b"\0") + bytes(4) + b"a\0b\0",
        struct.pack(">4sIQIIQ", b"QFI\xfb", 3, 104, 9, 16, 1).ljust(104, b"\0") + b"json:[1]" + b"\n",
        struct.pack(">4sIQIIQ", b"QFI\xfb", 3, 104, 60000, 16, 1).ljust(104, b"\0") + b"json:" + b"[" * 60000,
        struct.pack(">4sIQIIQ", b"QFI\xfb", 3, 104, 2, 16, 1).ljust(104, b"\0") + b"\xff\xfe",
    ],
    ids=["short", "nul", "json", "deep", "bytes"],
)
def test_a_guests_bytes_do_no_harm(folder: Folder, content: bytes) -> None:
    folder.chain("vm", "stranger")
    Path(folder.file("raw")).write_bytes(content)
    assert strangers(folder, ["vm"]) == ["stranger"]


def test_only_regular_files_are_read(folder: Folder) -> None:
    folder.chain("vm", "stranger")
    os.symlink(folder.file("stranger"), folder.file("link"))
    os.mkfifo(folder.file("fifo"))
    (folder.path / "directory").mkdir()
    assert strangers(folder, ["vm"]) == ["stranger"]


def test_a_directory_that_is_not_there(folder: Folder) -> None:
    assert strangers(folder, ["gone/vm"]) == []


def test_two_names_of_one_file(folder: Folder) -> None:
    folder.chain("vm", "vm.one")
    os.symlink(folder.file("vm.one"), folder.file("link"))
    chain = read(replace(folder.disk("vm.one"), source=folder.file("link")))
    assert to_chain(chain, {folder.file("vm.one"): "one"}).layers[0].snapshot == "one"
