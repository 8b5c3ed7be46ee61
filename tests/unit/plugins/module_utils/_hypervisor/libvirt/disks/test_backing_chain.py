# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backing chains as far as the files tell them, with files that lie."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("lxml")

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.backing_chain import (
    problems,
    read,
    readable_chain,
    readable_chains,
    to_chain,
    unknown_layers,
)
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils._hypervisor.libvirt.disks.image_folder import (
    Folder,
    folder,
)

__all__ = ("folder",)


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


def test_several_chains_are_those_that_each_alone_is(folder: Folder) -> None:
    """In whatever order they come, where they branch, and where one ends too soon."""
    folder.chain("base", "one", "two", "three")
    folder.image("beside", "one")
    folder.image("lost", "gone")
    names = ("one", "three", "two", "beside", "base", "lost", "gone")
    for order in (names, names[::-1]):
        formats = {folder.file(name): "raw" if name == "base" else "qcow2" for name in order}
        expected = {file: readable_chain(file, image_format) for file, image_format in formats.items()}
        assert readable_chains(formats) == expected


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


def test_the_overlay_of_a_transient_disk_is_libvirts(folder: Folder) -> None:
    folder.chain("template.qcow2", "vm.qcow2", "vm.one", "vm.one.TRANSIENT-vm")
    disk = replace(folder.disk("vm.one.TRANSIENT-vm"), transient=True)
    assert unknown_layers("vm", [read(disk)], {folder.file("vm.one")}) == []


def test_an_overlay_of_this_collection_whose_snapshot_is_forgotten(folder: Folder) -> None:
    folder.chain("disk.qcow2", "overlays/vm.vda.one.qcow2")
    assert unknown(folder, "overlays/vm.vda.one.qcow2") == ["overlays/vm.vda.one.qcow2"]
