# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a merge would write to and cannot, because somebody made it read-only, is seen before anything."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from contract.world import IMAGES

from .field import MakeVm, agreed, make_vm
from .field_disk import Disk
from .field_vm import FieldVm
from .odd_disks import MIB, Device, both, device, on_device, refused, removed, taken, toggle
from .planted import Planted, planted

__all__ = ("device", "make_vm", "planted")

HOME = "/srv/rofield"


@pytest.fixture
def home(planted: Planted) -> Iterator[str]:
    """A file system of its own, to be remounted."""
    make = f"mkdir -p {HOME}; mount -t tmpfs -o size=200m rofield {HOME}; chmod 755 {HOME}"
    planted.host.run(f"umount -l {HOME}; {make}", check=False)
    yield HOME
    planted.host.run(f"umount -l {HOME}; rmdir {HOME}", check=False)


@both
def test_a_device_that_was_made_read_only(make_vm: MakeVm, device: Device, planted: Planted, running: bool) -> None:
    path = device.make("rodev", 32 * MIB)
    vm = make_vm("rodev", on_device(path), start=running)
    vm.write("vda", 1)
    taken(vm, "s1", overlay_dir=IMAGES)
    vm.write("vda", 42)
    planted.host.run(["blockdev", "--setro", path])
    try:
        said = refused(vm, "file_read_only", vm.remove, "s1")["msg"]
        assert "blockdev --setrw /dev/" in said
        assert vm.disk_reads("vda", 42)
    finally:
        planted.host.run(["blockdev", "--setrw", path])
    removed(vm, "s1")
    assert vm.disk_reads("vda", 42)
    assert vm.active_file("vda") == path


@both
def test_a_read_only_device_takes_no_part_in_a_revert(
    make_vm: MakeVm, device: Device, planted: Planted, running: bool
) -> None:
    """Nothing is written to it."""
    path = device.make("rodev", 32 * MIB)
    vm = make_vm("rodev", on_device(path), start=running)
    vm.write("vda", 1)
    taken(vm, "s1", overlay_dir=IMAGES)
    vm.write("vda", 42)
    planted.host.run(["blockdev", "--setro", path])
    entry = agreed(vm.revert, "s1")[1]
    assert (entry["error_code"], vm.disk_reads("vda", 1)) == (None, True), entry["msg"]
    planted.host.run(["blockdev", "--setrw", path])


def on_home(make_vm: MakeVm, home: str, running: bool) -> FieldVm:
    """Return a VM whose base lies on the file system that is to be read-only, its overlay does not."""
    vm = make_vm("rofile", Disk("vda", file=f"{home}/rofile.qcow2"), start=running)
    vm.write("vda", 1)
    taken(vm, "s1", overlay_dir=IMAGES)
    vm.write("vda", 42)
    return vm


@both
def test_a_file_system_that_was_mounted_read_only(make_vm: MakeVm, home: str, planted: Planted, running: bool) -> None:
    vm = on_home(make_vm, home, running)
    planted.host.run(["mount", "-o", "remount,ro", home])
    try:
        assert "read-write" in refused(vm, "file_read_only", vm.remove, "s1")["msg"]
        assert agreed(vm.prune, keep_last=0)[1]["error_code"] == "file_read_only"
    finally:
        planted.host.run(["mount", "-o", "remount,rw", home])
    removed(vm, "s1")
    assert vm.disk_reads("vda", 42)


def test_an_orphan_that_cannot_be_deleted(make_vm: MakeVm, planted: Planted) -> None:
    vm = make_vm("rofile", "vda")
    saved = vm.xml(inactive=True)
    taken(vm, "s1")
    overlay = vm.active_file("vda")
    vm.virsh("undefine", "--snapshots-metadata")
    vm.define(re.sub("<uuid>.*</uuid>", "", saved))
    planted.host.run(["chattr", "+i", overlay])
    try:
        refused(vm, "file_read_only", vm.prune, orphans=True)
    finally:
        planted.host.run(["chattr", "-i", overlay])
    assert agreed(vm.prune, orphans=True)[1]["orphans_removed"] == [overlay]


@both
def test_a_folder_to_which_files_are_only_added(make_vm: MakeVm, planted: Planted, running: bool) -> None:
    directory = f"{IMAGES}/rofield"
    planted.host.run(["mkdir", "-p", "-m", "755", directory])
    vm = make_vm("rofile", directory=directory, start=running)
    vm.write("vda", 1)
    taken(vm, "s1")
    vm.write("vda", 42)
    planted.host.run(["chattr", "+a", directory])
    try:
        for action in (vm.remove, vm.revert):
            assert f"chattr -i -a {directory}" in refused(vm, "file_read_only", action, "s1")["msg"]
    finally:
        planted.host.run(["chattr", "-a", directory])
    toggle(vm, running)
    removed(vm, "s1")
    assert vm.disk_reads("vda", 42)
