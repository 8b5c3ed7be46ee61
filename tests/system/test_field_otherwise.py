# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM that runs otherwise than its definition says, or on what is not there any more."""

from __future__ import annotations

import pytest

from .field import MakeVm, agreed, make_vm
from .field_disk import Disk, create_image
from .field_vm import FieldVm
from .other_users import HOME, filled, home, names, well
from .planted import planted
from .ready_vm import refused

__all__ = ("home", "make_vm", "planted")


@pytest.mark.parametrize("memory", [False, True])
def test_a_layer_of_a_disk_outside_the_snapshot_is_gone(make_vm: MakeVm, memory: bool) -> None:
    """QEMU has it open still; after a stop nobody has."""
    vm = make_vm("fuweb", "vda", directory=HOME)
    golden = create_image(vm.host, f"{HOME}/golden.qcow2")
    vm.host.run(["qemu-io", "-f", "qcow2", "-c", "write -P 7 0 64k", golden])
    other = create_image(vm.host, f"{HOME}/fuweb-vdb.qcow2", backing=golden)
    vm.redefine("</devices>", f"{Disk('vdb').element(other)}</devices>")
    vm.start()
    vm.write("vda", 1)
    well(vm.take("s1", disks=("vda",), include_memory=memory))
    vm.write("vda", 42)
    vm.host.run(["rm", golden])
    msg = refused(vm, "file_missing", vm.revert, "s1")["msg"]
    assert golden in msg
    assert vm.state == "running"
    if not memory:
        vm.virsh("blockpull", "vdb", "--wait")
        well(agreed(vm.revert, "s1")[1])
        assert (vm.state, vm.disk_reads("vda", 1), vm.disk_reads("vdb", 7)) == ("running", True, True)


def test_a_disk_that_the_next_start_would_have_elsewhere(make_vm: MakeVm) -> None:
    vm = filled(make_vm("fuweb", "vda", "vdb", directory=HOME, start=True), "vda", "vdb")
    own, other = vm.active_file("vdb"), create_image(vm.host, f"{HOME}/new.qcow2")
    vm.virsh("detach-disk", "vdb", "--config")
    vm.virsh("attach-disk", other, "vdb", "--subdriver", "qcow2", "--config")
    assert other in refused(vm, "disks_changed", vm.revert, "s1")["msg"]
    assert (vm.disk_reads("vda", 42), vm.disk_reads("vdb", 42)) == (True, True)
    assert other in vm.xml(inactive=True)
    vm.virsh("detach-disk", "vdb", "--config")
    vm.virsh("attach-disk", own, "vdb", "--subdriver", "qcow2", "--config")
    well(agreed(vm.revert, "s1")[1])
    assert (vm.disk_reads("vda", 1), vm.disk_reads("vdb", 1)) == (True, True)


def scsi(make_vm: MakeVm) -> FieldVm:
    """Return a running VM with s1 that has lost its second disk until its next start: that goes without a word from the guest."""
    file = f"{HOME}/fuweb-sdb.qcow2"
    element = f"""<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{file}'/>
      <target dev='sdb' bus='scsi'/></disk><controller type='scsi' model='virtio-scsi'/>"""
    vm = filled(make_vm("fuweb", "vda", Disk("sdb", file=file, xml=element), directory=HOME), "vda", "sdb")
    vm.start()
    vm.virsh("detach-disk", "sdb")
    return vm


def test_a_disk_that_is_detached_until_the_next_start(make_vm: MakeVm) -> None:
    vm = scsi(make_vm)
    well(agreed(vm.remove, "s1")[1])
    assert (vm.state, vm.snapshots()) == ("running", [])
    well(agreed(vm.take, "s2")[1])
    well(agreed(vm.remove, "s2")[1])
    vm.off()
    vm.start()
    assert (vm.disk_reads("vda", 42), vm.disk_reads("sdb", 42)) == (True, True)
    vm.sound()


CREATE = "qemu-img create -q -f qcow2 -F qcow2"
CLONES = f"for d in fuweb fuweb-vdb; do {CREATE} -b {HOME}/$d.qcow2 {HOME}/app-$d.qcow2; done"


@pytest.mark.parametrize("start", [False, True])
def test_somebody_builds_upon_a_disk_while_another_is_merged(make_vm: MakeVm, start: bool) -> None:
    """Of the disk that was merged first the clone has what is there by then; the other one's is not written under."""
    vm = filled(make_vm("fuweb", "vda", "vdb", directory=HOME, start=start), "vda", "vdb")
    clones = f"before(merge_layers, '_unused', lambda: subprocess.run({CLONES!r}, shell=True))"
    entry = vm.planted.remove(clones, vm.name, name="s1")["vms"][0]
    read = [vm.reads(f"{HOME}/app-{disk}.qcow2", 1) for disk in ("fuweb", "fuweb-vdb")]
    assert sorted(read) == [False, True], entry["msg"]
    assert (vm.disk_reads("vda", 42), vm.disk_reads("vdb", 42)) == (True, True)
    assert entry["error_code"] is None, entry["msg"]
    later = "fuweb.qcow2" if read[0] else "fuweb-vdb.qcow2"
    assert names(entry["notes"], f"{HOME}/{later} stays a layer of its own", f"{HOME}/app-{later} is based on it")
    assert vm.info()["operation"] is None
