# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a merge would write to and cannot, because somebody made it read-only, is seen before anything."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from contract.world import IMAGES

from .field import MakeVm, agreed, make_vm
from .field_disk import Disk
from .field_vm import FieldVm
from .guest import wait_for
from .odd_disks import MIB, Device, both, device, loop_of, on_device, refused, removed, taken, toggle
from .planted import Planted, only, planted

__all__ = ("device", "make_vm", "planted")

HOME = "/srv/rofield"
FAILING = "/srv/rofailing"
IMAGE = "/var/lib/rofield.ext4"
# mount(8) of newer hosts takes no such option.
FAIL = f"import ctypes; assert not ctypes.CDLL(None).mount(b'none', b'{FAILING}', None, 32, b'abort')"


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


@pytest.fixture
def failing(planted: Planted) -> Iterator[str]:
    """A file system that can fail: the kernel lets nobody write to it from then on, as after an error of its disk."""
    host, loop = planted.host, loop_of(planted.host)
    clear = f"umount -l {FAILING}; losetup -d {loop}; rm -f {IMAGE}"
    host.run(f"({clear}) 2>/dev/null; truncate -s 200M {IMAGE}; losetup {loop} {IMAGE}", check=False)
    host.run(f"mkfs.ext4 -q -F {loop}; mkdir -p {FAILING}; mount {loop} {FAILING} && chmod 755 {FAILING}")
    yield FAILING
    host.run(f"virsh destroy rofile; ({clear}) 2>/dev/null; rmdir {FAILING}", check=False)


def repair(vm: FieldVm) -> None:
    """Do what an operator does then; a VM that runs has its files open, and is stopped for that."""
    vm.host.run(f"virsh destroy {vm.name}", check=False)
    source = vm.host.run(["findmnt", "-n", "-o", "SOURCE", FAILING]).stdout.strip()
    vm.host.run(f"umount {FAILING}; e2fsck -fy {source} >/dev/null; mount {source} {FAILING}", check=False)
    vm.host.run(["touch", f"{FAILING}/writable"])


@both
def test_a_file_system_that_fails_while_a_layer_is_merged(
    make_vm: MakeVm, failing: str, planted: Planted, running: bool
) -> None:
    vm = make_vm("rofile", Disk("vda", file=f"{failing}/rofile.qcow2"), start=running)
    vm.write("vda", 1)
    taken(vm, "s1", overlay_dir=IMAGES)
    vm.write("vda", 42, "24M")
    overlay = vm.active_file("vda")
    with ThreadPoolExecutor() as pool:
        removal = pool.submit(vm.remove, "s1", bandwidth=4)
        wait_for("the merge", lambda: (vm.info()["operation"] or {}).get("percent"), 60)
        planted.host.run(["python3", "-c", FAIL])
        entry = removal.result()
    assert (entry["error_code"], entry["failed"]) == ("merge_failed", True), entry
    assert vm.exists(overlay), "it has the newest data"
    assert vm.state == ("running" if running else "shut off")
    assert vm.info()["look"] == "act"
    # Who tries again before that is repaired learns why, and check mode says the same.
    again = agreed(vm.remove, "s1")[1]
    assert (again["error_code"], again["changed"]) == ("file_read_only", False), again
    assert failing in again["msg"]
    repair(vm)
    assert vm.reads(overlay, 42, size="24M")
    done = vm.remove("s1")
    assert done["error_code"] is None, done["msg"]
    assert "removal of snapshot 's1'" in str(done["recovered"])
    assert (vm.snapshots(), vm.active_file("vda")) == ([], f"{failing}/rofile.qcow2")
    assert vm.disk_reads("vda", 42, "24M")
    assert not vm.exists(overlay)
    vm.sound()


@both
@pytest.mark.parametrize("what", ["the merged layer", "its folder"])
def test_a_layer_that_cannot_be_deleted_once_it_is_merged(
    make_vm: MakeVm, planted: Planted, what: str, running: bool
) -> None:
    directory = f"{IMAGES}/rofield"
    planted.host.run(["mkdir", "-p", "-m", "755", directory])
    vm = make_vm("rofile", directories=(directory,), start=running)
    vm.write("vda", 1)
    taken(vm, "s1", overlay_dir=directory)
    vm.write("vda", 42)
    overlay = vm.active_file("vda")
    file = overlay if what == "the merged layer" else directory
    fault = f"before(merge_layers, '_flush_merged', lambda: subprocess.run(['chattr', '+i', {file!r}], check=True))"
    try:
        entry = only(planted.remove(fault, vm.name, name="s1"))
        assert (entry["error_code"], vm.exists(overlay)) == ("file_not_removed", True), entry
        assert (vm.active_file("vda"), vm.disk_reads("vda", 42)) == (f"{IMAGES}/rofile.qcow2", True)
        again = agreed(vm.remove, "s1")[1]
        assert (again["error_code"], again["changed"]) == ("file_read_only", False), again
    finally:
        planted.host.run(["chattr", "-i", file])
    done = vm.remove("s1")
    assert done["error_code"] is None, done["msg"]
    assert (vm.snapshots(), vm.exists(overlay), vm.disk_reads("vda", 42)) == ([], False, True)
    vm.sound()


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
