# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Chains with trouble in them, and overlays that nobody knows, on real files with headers made by hand."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Optional

import pytest

pytest.importorskip("lxml")

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.chain import (
    problems,
    read,
    to_chain,
    unknown_layers,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.headers import backing_files
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.host_files import HostFiles
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.users import User, Users
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.devices import Disk


class Folder:
    """Makes images in a directory; names are relative to it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def file(self, name: str) -> str:
        return str(self.path / name)

    def image(self, name: str, backing: str | bytes = b"", backing_format: bytes = b"qcow2") -> str:
        """Write a qcow2 image of one GiB, an overlay if ``backing`` is given (a name here, or any bytes)."""
        text = self.file(backing).encode() if isinstance(backing, str) else backing
        extension = struct.pack(">II", 0xE2792ACA, len(backing_format)) + backing_format.ljust(8, b"\0")
        end = 104 + (len(extension) if backing_format else 0) + 8
        head = struct.pack(">4sIQIIQ", b"QFI\xfb", 3, end if text else 0, len(text), 16, 1 << 30)
        head = head.ljust(100, b"\0") + struct.pack(">I", 104) + (extension if backing_format else b"") + bytes(8)
        Path(self.file(name)).parent.mkdir(exist_ok=True)
        Path(self.file(name)).write_bytes(head + text)
        return self.file(name)

    def chain(self, *names: str) -> None:
        """Make each image an overlay on the one before it."""
        for below, name in zip(("", *names), names):
            self.image(name, below or b"")

    def disk(self, name: str, backing: tuple[str, ...] | None = None) -> Disk:
        told = None if backing is None else tuple(self.file(one) for one in backing)
        return Disk("vda", "disk", "file", self.file(name), "qcow2", False, False, False, True, told)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_a_whole_chain(folder: Folder) -> None:
    folder.chain("base", "vm.one", "vm.two")
    chain = read(folder.disk("vm.two", ("vm.one", "base")))
    assert list(problems(chain)) == []
    told = to_chain(chain, {folder.file("vm.two"): "two", folder.file("vm.one"): "one"})
    assert [(os.path.basename(layer.file), layer.snapshot) for layer in told.layers] == [
        ("vm.two", "two"),
        ("vm.one", "one"),
        ("base", None),
    ]
    assert {layer.virtual_size for layer in told.layers} == {1 << 30}


def test_a_chain_is_read_as_far_as_it_goes(folder: Folder) -> None:
    folder.chain("base", "one", "two")
    os.unlink(folder.file("base"))
    chain = read(folder.disk("two", ("one", "base")))
    assert [image.file for image in chain.images] == [folder.file("two"), folder.file("one")]
    assert list(problems(chain)) == [f"disk vda: {folder.file('base')} cannot be read: No such file or directory"]


def test_a_layer_that_is_no_image(folder: Folder) -> None:
    folder.chain("base", "one")
    Path(folder.file("base")).write_bytes(b"x" * 200)
    assert list(problems(read(folder.disk("one")))) == [
        f"disk vda: {folder.file('base')} cannot be read: {folder.file('base')} is not a qcow2 image"
    ]
    Path(folder.file("base")).write_bytes(b"QFI\xfb" + b"\xff" * 80)  # cut short within its header
    (problem,) = problems(read(folder.disk("one")))
    assert "cannot be read" in problem


def test_a_circle_ends(folder: Folder) -> None:
    folder.image("one", "two")
    folder.image("two", "one")
    chain = read(folder.disk("one"))
    assert len(chain.images) == 200
    assert "in a circle" in next(problems(chain))


def test_libvirt_and_the_files_say_different_things(folder: Folder) -> None:
    folder.chain("base", "one", "two")
    (problem,) = problems(read(folder.disk("two", ("base",))))
    assert problem.startswith("disk vda: libvirt says it is backed by [")
    assert list(problems(read(folder.disk("two", None)))) == []
    os.symlink(folder.file("one"), folder.file("link"))
    assert list(problems(read(folder.disk("two", ("link", "base"))))) == []


def test_a_backing_file_without_a_format_is_not_looked_into(folder: Folder) -> None:
    folder.chain("secret", "guest")
    folder.image("top", "guest", backing_format=b"")
    chain = read(folder.disk("top"))
    assert [image.format for image in chain.images] == ["qcow2", "raw"]
    (problem,) = problems(chain)
    assert "does not name the format" in problem


def unknown(folder: Folder, top: str, *owned: str) -> list[str]:
    files = unknown_layers("vm", [read(folder.disk(top))], {folder.file(name) for name in owned})
    return [os.path.relpath(file, folder.path) for file in files]


def test_a_clone_on_a_template_is_not_unknown(folder: Folder) -> None:
    folder.chain("template.qcow2", "patched.qcow2", "vm.qcow2", "vm.one", "vm.two")
    assert unknown(folder, "vm.qcow2") == []
    assert unknown(folder, "vm.two", "vm.one", "vm.two") == []
    folder.chain("debian.img", "debian.qcow2")
    assert unknown(folder, "debian.qcow2") == []


def test_layers_whose_snapshot_is_forgotten(folder: Folder) -> None:
    folder.chain("template.qcow2", "vm.qcow2", "vm.one", "vm.two", "backup.qcow2")
    assert unknown(folder, "vm.two", "vm.one") == ["vm.two"]
    assert unknown(folder, "vm.two", "vm.two") == ["vm.one"]
    assert unknown(folder, "vm.two") == ["vm.two", "vm.one"]
    assert unknown(folder, "backup.qcow2", "vm.one", "vm.two") == ["backup.qcow2"]


def test_an_overlay_of_this_collection_whose_snapshot_is_forgotten(folder: Folder) -> None:
    folder.chain("disk.qcow2", "overlays/vm.vda.one.qcow2")
    assert unknown(folder, "overlays/vm.vda.one.qcow2") == ["overlays/vm.vda.one.qcow2"]


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
