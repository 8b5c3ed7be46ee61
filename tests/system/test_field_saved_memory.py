# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Memory that somebody has saved to a file of his own (``virsh save``): it goes with the disks as they were at that moment."""

from __future__ import annotations

from functools import partial

import pytest

from .field import MakePool, MakeVm, agreed, make_pool, make_vm
from .field_disk import Disk
from .field_vm import FieldVm
from .odd_disks import refused
from .other_users import HOME, POOL, POOL_HOME, filled, home, names, volume, well
from .planted import planted

__all__ = ("home", "make_pool", "make_vm", "planted")

SAVED = f"{HOME}/friday.save"


def saved(make_vm: MakeVm) -> FieldVm:
    """Return a VM with s1 and 42 since, whose memory lies in a file."""
    vm = filled(make_vm("fuweb", "vda", directory=HOME, start=True))
    vm.virsh("save", SAVED)
    return vm


def test_a_vm_whose_memory_is_in_a_file_is_left_as_it_is(make_vm: MakeVm) -> None:
    vm = saved(make_vm)
    for action in (partial(vm.take, "s2"), partial(vm.revert, "s1"), partial(vm.remove, "s1")):
        assert SAVED in refused(vm, "managed_save", action)["msg"]
    vm.host.virsh("restore", SAVED)
    assert (vm.state, vm.disk_reads("vda", 42)) == ("running", True)
    well(agreed(vm.remove, "s1")[1])  # the file stays, and is of no use any more
    assert (vm.disk_reads("vda", 42), vm.files()) == (True, {f"{HOME}/fuweb.qcow2"})


def test_memory_that_is_moved_away_as_the_message_says(make_vm: MakeVm) -> None:
    vm = saved(make_vm)
    assert "another directory" in refused(vm, "managed_save", vm.take, "s2")["msg"]
    vm.host.run(["mv", SAVED, "/run/fufriday.save"])
    well(agreed(vm.take, "s2")[1])
    vm.host.run(["rm", "/run/fufriday.save"])


def test_memory_of_a_vm_that_was_started_anew_since_is_of_no_use(make_vm: MakeVm) -> None:
    vm = saved(make_vm)
    vm.host.run(["touch", "-d", "-1 minute", SAVED])
    vm.start()
    vm.write("vda", 43)
    vm.off()
    entry = well(agreed(vm.remove, "s1")[1])
    assert entry["notes"] == []
    assert (vm.disk_reads("vda", 43), vm.files()) == (True, {f"{HOME}/fuweb.qcow2"})


def test_layers_that_the_memory_in_a_file_needs_stay(make_vm: MakeVm) -> None:
    """Somebody has gone on from the same disks since, on an overlay."""
    vm = saved(make_vm)
    then = vm.active_file("vda")
    vm.virsh("snapshot-create-as", "later", "--disk-only", "--diskspec", f"vda,file={HOME}/fuweb.later.qcow2")
    vm.write("vda", 77)
    entry = well(agreed(vm.remove, "s1")[1])
    assert names(entry["notes"], f"{HOME}/fuweb.qcow2 stays a layer of its own", SAVED), entry["notes"]
    entry = well(agreed(vm.remove, "later")[1])
    assert names(entry["notes"], SAVED), entry["notes"]
    assert vm.reads(then, 42), entry["msg"]
    assert vm.disk_reads("vda", 77)
    vm.host.run(["rm", SAVED])
    well(vm.take("s2"))
    well(vm.remove("s2"))
    assert (vm.disk_reads("vda", 77), vm.files()) == (True, {f"{HOME}/fuweb.qcow2"})


def test_memory_of_a_vm_that_is_undefined_needs_the_image_that_it_read(make_vm: MakeVm) -> None:
    """A rescue VM had it as a read-only disk, and nobody but the file knows of that VM any more."""
    vm = filled(make_vm("fuweb", "vda", directory=HOME))
    base = f"{HOME}/fuweb.qcow2"
    readonly = Disk("vda", file=base, size="", inside="<readonly/>")
    rescue = make_vm("furescue", readonly, directory=f"{HOME}/other", start=True)
    rescue.virsh("save", SAVED)
    rescue.virsh("undefine")
    entry = well(agreed(vm.remove, "s1")[1])
    assert vm.reads(base, 1), entry["msg"]
    assert names(entry["notes"], base, "VM furescue", SAVED), entry["notes"]
    assert vm.disk_reads("vda", 42)


def test_memory_of_a_vm_on_a_volume(make_vm: MakeVm, make_pool: MakePool) -> None:
    make_pool(POOL, POOL_HOME)
    vm = make_vm("fuweb", volume("fuweb.qcow2"), directory=POOL_HOME)
    vm.host.virsh("pool-refresh", POOL)
    vm.start()
    vm.virsh("save", f"{POOL_HOME}/friday.save")
    assert f"{POOL_HOME}/friday.save" in refused(vm, "managed_save", vm.take, "s1")["msg"]


@pytest.mark.parametrize("meanwhile", ["", "killed"])
def test_the_memory_of_a_snapshot_is_none_of_these(make_vm: MakeVm, meanwhile: str) -> None:
    vm = filled(make_vm("fuweb", "vda", "vdb", directory=HOME, start=True), "vda", "vdb")
    well(vm.take("m1", include_memory=True))
    vm.write("vda", 43)
    vm.off()
    if meanwhile:  # libvirt has forgotten it, and its memory file is there still
        done = vm.planted.remove("before(merge_layers, '_flush_merged', die)", vm.name, name="m1")
        assert done == {"killed": True}
        well(vm.take("s2"))
        well(vm.remove("s2"))
    else:
        well(agreed(vm.remove, "m1")[1])
    well(agreed(vm.remove, "s1")[1])
    assert (vm.disk_reads("vda", 43), vm.files()) == (True, {f"{HOME}/fuweb.qcow2", f"{HOME}/fuweb-vdb.qcow2"})
