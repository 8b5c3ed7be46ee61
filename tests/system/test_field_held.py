# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Overlays that are to go and that somebody has open, or holds: that is seen before the VM is stopped, and before a merge."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Callable

import pytest

from .field import MakeVm, agreed, make_vm
from .field_disk import Disk
from .field_vm import FieldVm
from .guest import wait_for
from .odd_disks import both, loop_of
from .other_users import filled, names, well
from .planted import Planted, planted

__all__ = ("make_vm", "planted")

HOME = "/srv/held"  # nothing of these VMs lies anywhere else

FORCED = '{"driver":"qcow2","file":{"driver":"file","filename":"FILE"},"force-share":true}'

# What opens a file for reading, as a backup program or a server of block devices does.
READERS = {
    "a copy": "sleep 999 <FILE",
    "qemu-nbd": f"qemu-nbd -r -t -k {HOME}/nbd 'json:{FORCED}'",
}


@pytest.fixture(autouse=True)
def home(planted: Planted) -> Iterator[None]:
    planted.host.run(f"rm -rf {HOME}; mkdir -p {HOME}")
    yield
    planted.host.run(f"rm -rf {HOME}")


def seen(vm: FieldVm) -> tuple[object, ...]:
    """Return all that a refusal must leave as it is."""
    record = vm.host.run(f"cat /var/lib/limiquantix-kvm/{vm.uuid}.json || echo none", check=False).stdout
    process = vm.host.run(f"cat /run/libvirt/qemu/{vm.name}.pid", check=False).stdout
    files = vm.host.run(f"find {HOME} -printf '%p %i\\n' | sort").stdout
    return record, process, files, vm.snapshots(), vm.xml(inactive=True), vm.state


@contextmanager
def reading(vm: FieldVm, how: str, file: str) -> Iterator[str]:
    command = READERS[how].replace("FILE", file)
    pid = vm.host.run(f"setsid {command} >/dev/null 2>&1 </dev/null & echo $!").stdout.strip()
    if "<" in command:
        vm.host.run(["kill", pid], check=False)
        pid = vm.host.run(f"setsid {command} >/dev/null 2>&1 & echo $!").stdout.strip()
    wait_for("the reader", lambda: file in vm.host.run(f"ls -l /proc/{pid}/fd", check=False).stdout)
    try:
        yield pid
    finally:
        vm.host.run(["kill", pid], check=False)
        wait_for("its end", lambda: vm.host.run(["kill", "-0", pid], check=False).returncode != 0)


def refused(vm: FieldVm, pid: str, action: Callable[..., dict[str, object]]) -> None:
    """Assert that check mode and a run refuse it alike, name the process and change nothing."""
    before = seen(vm)
    _told, entry = agreed(action)
    assert (entry["error_code"], entry["changed"]) == ("file_in_use", False), entry["msg"]
    assert f"rocess {pid}" in str(entry["msg"])
    after = seen(vm)
    assert after == before


@pytest.mark.parametrize("how", READERS)
@both
def test_a_revert_sees_who_reads_what_it_would_drop(make_vm: MakeVm, how: str, running: bool) -> None:
    vm = filled(make_vm("heldweb", "vda", directory=HOME, start=running))
    overlay = vm.active_file("vda")
    with reading(vm, how, overlay) as pid:
        refused(vm, pid, partial(vm.revert, "s1"))
        entry = well(agreed(vm.revert, "s1", keep_current=True)[1])
        assert vm.exists(overlay), entry
    assert vm.disk_reads("vda", 1)
    vm.write("vda", 43)
    well(agreed(vm.revert, "s1")[1])
    assert vm.disk_reads("vda", 1)
    vm.sound()


@pytest.mark.parametrize("how", READERS)
@both
def test_a_removal_sees_who_reads_what_it_would_drop(make_vm: MakeVm, how: str, running: bool) -> None:
    """A branch that the VM has left."""
    vm = filled(make_vm("heldweb", "vda", directory=HOME, start=running))
    well(vm.take("s2"))
    branch = vm.active_file("vda").replace("s2", "s1")
    well(vm.revert("s1"))
    vm.write("vda", 43)
    assert vm.reads(branch, 42)
    with reading(vm, how, branch) as pid:
        refused(vm, pid, partial(vm.remove, "s2"))
        refused(vm, pid, partial(vm.prune, names=["s2"], keep_last=0))
    well(agreed(vm.remove, "s2")[1])
    assert not vm.exists(branch)
    assert vm.disk_reads("vda", 43)
    vm.sound()


@pytest.mark.parametrize("layer", ["the overlay", "the image under it"])
@pytest.mark.parametrize("how", READERS)
@both
def test_a_merge_sees_who_reads_its_layers(make_vm: MakeVm, how: str, layer: str, running: bool) -> None:
    vm = filled(make_vm("heldweb", "vda", directory=HOME, start=running))
    well(vm.take("s2"))
    file = f"{HOME}/heldweb.vda.s1.qcow2" if layer == "the overlay" else f"{HOME}/heldweb.qcow2"
    with reading(vm, how, file) as pid:
        refused(vm, pid, partial(vm.remove, "s1"))
    well(agreed(vm.remove, "s1")[1])
    assert vm.disk_reads("vda", 42)


@both
def test_orphans_that_somebody_reads_are_told_beforehand(make_vm: MakeVm, running: bool) -> None:
    vm = make_vm("heldweb", "vda", directory=HOME)
    saved = vm.xml(inactive=True)
    well(vm.take("s1"))
    overlay = vm.active_file("vda")
    vm.virsh("undefine", "--snapshots-metadata")
    vm.define(re.sub("<uuid>.*</uuid>", "", saved))
    if running:
        vm.start()
    assert vm.info()["orphans"] == [overlay]
    with reading(vm, "a copy", overlay) as pid:
        refused(vm, pid, partial(vm.prune, orphans=True))
    assert agreed(vm.prune, orphans=True)[1]["orphans_removed"] == [overlay]


HOLDERS = {
    "a loop device": "losetup LOOP FILE",
    "one for reading only": "losetup -r LOOP FILE",
    # As in a container: its path leads nowhere here.
    "one by another path": "mkdir -p /mnt/elsewhere && unshare -m sh -c "
    "'mount --bind $(dirname FILE) /mnt/elsewhere && losetup LOOP /mnt/elsewhere/$(basename FILE)'",
}


@pytest.mark.parametrize("how", HOLDERS)
@both
def test_a_revert_keeps_and_names_what_the_kernel_holds(make_vm: MakeVm, how: str, running: bool) -> None:
    # The lab's hosts have one kernel, which tells all of them of this loop device; its file is on this one.
    vm = filled(make_vm("heldloop", "vda", directory=HOME, start=running))
    overlay = vm.active_file("vda")
    loop = loop_of(vm.host)
    vm.host.run(HOLDERS[how].replace("LOOP", loop).replace("FILE", overlay))
    try:
        entry = well(agreed(vm.revert, "s1")[1])
        assert vm.reads(overlay, 42)
        assert overlay in entry["kept"], entry
        assert names(entry["notes"], overlay, loop), entry
    finally:
        vm.host.run(["losetup", "-d", loop], check=False)
    assert vm.disk_reads("vda", 1)


@both
def test_a_revert_keeps_and_names_what_another_vm_is_defined_on(make_vm: MakeVm, running: bool) -> None:
    vm = filled(make_vm("heldweb", "vda", directory=HOME, start=running))
    overlay = vm.active_file("vda")
    readonly = f"""<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{overlay}'/>
      <target dev='vda' bus='virtio'/><readonly/></disk>"""
    make_vm("heldother", Disk("vda", xml=readonly), directory=HOME)
    entry = well(agreed(vm.revert, "s1")[1])
    assert vm.reads(overlay, 42)
    assert overlay in entry["kept"], entry
    assert names(entry["notes"], overlay, "heldother"), entry
    assert vm.disk_reads("vda", 1)
    kept = [one["file"] for one in vm.info()["kept"]]
    assert overlay in kept, kept


@both
def test_a_removal_keeps_and_names_what_is_held(make_vm: MakeVm, running: bool) -> None:
    vm = filled(make_vm("heldweb", "vda", directory=HOME, start=running))
    well(vm.take("s2"))
    branch = vm.active_file("vda").replace("s2", "s1")
    well(vm.revert("s1"))
    readonly = f"""<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{branch}'/>
      <target dev='vda' bus='virtio'/><readonly/></disk>"""
    make_vm("heldother", Disk("vda", xml=readonly), directory=HOME)
    entry = well(agreed(vm.remove, "s2")[1])
    assert vm.reads(branch, 42)
    assert branch in entry["kept"], entry
    assert names(entry["notes"], branch, "heldother"), entry


def test_a_removal_sees_who_reads_the_memory_that_goes(make_vm: MakeVm) -> None:
    vm = make_vm("heldweb", "vda", directory=HOME, start=True)
    vm.write("vda", 1)
    memory = well(vm.take("s1", include_memory=True))["snapshot"]["memory_file"]
    vm.write("vda", 42)
    with reading(vm, "a copy", memory) as pid:
        refused(vm, pid, partial(vm.remove, "s1"))
    assert memory in well(agreed(vm.remove, "s1")[1])["files_removed"]
    assert vm.disk_reads("vda", 42)


@both
def test_what_cannot_be_deleted_is_no_obstacle_where_it_is_kept(make_vm: MakeVm, running: bool) -> None:
    vm = filled(make_vm("heldkeep", "vda", start=running))  # on a file system that knows attributes
    overlay = vm.active_file("vda")
    vm.host.run(["chattr", "+i", overlay])
    try:
        assert agreed(vm.revert, "s1")[1]["error_code"] == "file_read_only"
        well(agreed(vm.revert, "s1", keep_current=True)[1])
    finally:
        vm.host.run(["chattr", "-i", overlay])
    assert (vm.disk_reads("vda", 1), vm.reads(overlay, 42)) == (True, True)
    vm.sound()
