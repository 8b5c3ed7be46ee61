# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an operator, or another program, does beside a VM or after a killed run: nothing that was written last is lost."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest

from .field import MakeVm, agreed, make_vm
from .field_disk import Disk, create_image
from .field_vm import FieldVm
from .other_users import filled, names, well
from .planted import Planted, planted

__all__ = ("make_vm", "planted")

HOME = "/srv/fs"  # nothing of these VMs lies anywhere else


@pytest.fixture(autouse=True)
def home(planted: Planted) -> Iterator[None]:
    planted.host.run(f"rm -rf {HOME}; mkdir -p {HOME}")
    yield
    planted.host.run(f"rm -rf {HOME}")


def template(make_vm: MakeVm, directory: str) -> FieldVm:
    """Return a VM with an image of which clones are made; its content is 1."""
    vm = make_vm("fstmpl", "vda", directory=directory)
    vm.write("vda", 1)
    return vm


def test_a_layer_that_a_copy_is_made_of_is_refused_before_anything(make_vm: MakeVm) -> None:
    """A copying program takes no locks as QEMU's do; what it copies must stand still."""
    vm = filled(make_vm("fsweb", "vda", directory=HOME))
    pid = vm.host.run(f"setsid sleep 60 >/dev/null 2>&1 <{HOME}/fsweb.qcow2 & echo $!").stdout.strip()
    entry = agreed(vm.remove, "s1")[1]
    vm.host.run(["kill", pid])
    assert (entry["error_code"], entry["changed"]) == ("file_in_use", False), entry["msg"]
    assert pid in entry["msg"]
    well(vm.remove("s1"))
    assert vm.disk_reads("vda", 42)


@pytest.mark.parametrize(
    ("step", "left"),
    [("merge_layers, 'commit_image'", 0), ("vm_handle.VmHandle, 'define'", 0), ("vm_handle.VmHandle, 'define'", 1)],
)
def test_an_older_definition_that_comes_back_after_a_killed_removal(
    make_vm: MakeVm, planted: Planted, step: str, left: int
) -> None:
    vm = make_vm("fsweb", "vda", directory=HOME)
    old = vm.xml(inactive=True)
    for name in ("s0", "s1")[1 - left :]:
        well(vm.take(name))
    vm.write("vda", 42)
    newest = vm.xml(inactive=True)
    assert planted.remove(f"before({step}, die)", vm.name, name="s1") == {"killed": True}
    overlay = vm.active_file("vda")
    below = f"{HOME}/fsweb.qcow2" if left == 0 else f"{HOME}/fsweb.vda.s0.qcow2"
    if step.endswith("'define'") and not left:
        old = newest.replace(overlay, below)  # where the run was about to put it: all is there
    vm.define(old)
    if left or "'define'" not in step:
        assert names(vm.info()["problems"], "Somebody put back an older definition")
        for action in (partial(vm.remove, "s1"), partial(vm.take, "s2")):
            entry = agreed(action)[1]
            assert vm.reads(overlay, 42), f"{overlay} is gone or spoilt: {entry['msg']}"
            assert (entry["error_code"], entry["changed"]) == ("definition_changed", False), entry["msg"]
        vm.define(newest)
    well(vm.remove("s1"))
    assert vm.disk_reads("vda", 42)
    assert not vm.exists(overlay)


def test_a_running_disk_that_the_definition_has_otherwise(make_vm: MakeVm) -> None:
    """What an operator has decided for the next start holds, and a revert, which starts it anew, does not pass it over."""
    vm = filled(make_vm("fsweb", "vda", "vdb", directory=HOME, start=True), "vda", "vdb")
    overlay, new = vm.active_file("vdb"), create_image(vm.host, f"{HOME}/new.qcow2")
    vm.virsh("detach-disk", "vdb", "--config")
    assert agreed(vm.revert, "s1")[1]["error_code"] == "disks_changed"
    assert vm.reads(overlay, 42)
    vm.virsh("attach-disk", new, "vdb", "--subdriver", "qcow2", "--config")
    well(agreed(vm.remove, "s1")[1])
    assert new in vm.xml(inactive=True)
    assert vm.disk_reads("vdb", 42)


def test_a_vm_that_was_used_after_a_killed_revert(make_vm: MakeVm, planted: Planted) -> None:
    """Whoever starts it then works on the disks that it had, and stops it again: that is nothing to be thrown away."""
    vm = filled(make_vm("fsweb", "vda", directory=HOME))
    overlay = vm.active_file("vda")
    assert planted.revert("before(revert.Revert, '_define', die)", vm.name, "s1") == {"killed": True}
    vm.write("vda", 77)
    vm.host.run(["touch", "-d", "1 hour", overlay])
    entry = well(vm.take("s2"))
    assert "Undid the interrupted revert" in entry["msg"]
    assert vm.disk_reads("vda", 77)
    vm.sound()


def test_a_disk_that_is_detached_after_a_killed_revert(make_vm: MakeVm, planted: Planted) -> None:
    vm = filled(make_vm("fsweb", "vda", "vdb", directory=HOME), "vda", "vdb")
    overlay = vm.active_file("vdb")
    assert planted.revert("before(revert.Revert, '_define', die)", vm.name, "s1") == {"killed": True}
    vm.virsh("detach-disk", "vdb", "--config")
    well(vm.take("s2"))
    assert vm.disk_reads("vda", 1)
    assert vm.reads(overlay, 42)


@pytest.mark.parametrize("step", ["_define", "_verify"])
def test_an_overlay_of_a_killed_revert_that_somebody_deletes(make_vm: MakeVm, planted: Planted, step: str) -> None:
    """A VM that is not on it yet stays where it is. One that is on it is put back by hand."""
    vm = filled(make_vm("fsweb", "vda", directory=HOME))
    overlay = vm.active_file("vda")
    assert planted.revert(f"before(revert.Revert, '{step}', die)", vm.name, "s1") == {"killed": True}
    vm.host.run(f"ls {HOME}/fsweb.vda.s1*.qcow2 | grep -vx {overlay} | xargs rm")
    if step == "_verify":
        entry = agreed(vm.take, "s2")[1]
        assert (entry["error_code"], entry["changed"]) == ("chain_mismatch", False), entry["msg"]
        vm.define(vm.xml(inactive=True).replace(vm.active_file("vda"), overlay))
    said = "stays as it is" if step == "_verify" else "Undid the interrupted revert"
    assert said in well(vm.take("s2"))["recovered"]
    assert vm.disk_reads("vda", 42)
    vm.sound()


@pytest.mark.parametrize("what", ["written", "deleted"])
def test_a_clone_of_a_clone_that_lies_where_no_vm_has_a_disk(make_vm: MakeVm, what: str) -> None:
    """The other VM names the uppermost of three images only, and that one alone leads to the second."""
    vm = template(make_vm, HOME)
    base = f"{HOME}/fstmpl.qcow2"
    if what == "deleted":  # the frozen image is an overlay of ours, and the VM leaves it
        well(vm.take("s0"))
        base = vm.active_file("vda")
        vm.write("vda", 1)
    well(vm.take("s1"))
    vm.write("vda", 42)
    clone = create_image(vm.host, f"{HOME}/a/b/c/clone.qcow2", backing=base)
    above = create_image(vm.host, f"{HOME}/d/e/f/clone.qcow2", backing=clone)
    make_vm("fsapp", Disk("vda", file=above, size=""), directory=HOME)
    if what == "deleted":
        well(agreed(vm.revert, "s0")[1])
    entry = well(agreed(vm.remove, "s1")[1])
    assert vm.reads(above, 1), entry["msg"]
    assert names(entry["notes"], base, clone), entry["notes"]


def test_an_image_that_has_the_data_of_another_one(make_vm: MakeVm) -> None:
    """A qcow2 file keeps its data in a raw one (data_file): what is merged into that one changes it."""
    raw = f"{HOME}/fsweb.raw"
    vm = make_vm("fsweb", Disk("vda", format="raw"), directory=HOME)
    made = f"qemu-img create -q -f qcow2 -o data_file={raw},data_file_raw=on {HOME}/other.qcow2 64M"
    vm.host.run(f"{made} && qemu-io -f qcow2 -c 'write -P 1 0 64k' {HOME}/other.qcow2")
    well(vm.take("s1"))
    vm.write("vda", 42)
    well(agreed(vm.remove, "s1")[1])
    assert vm.reads(f"{HOME}/other.qcow2", 1)
    assert vm.disk_reads("vda", 42)


def test_disks_that_changed_places(make_vm: MakeVm) -> None:
    """A revert of vda leaves what another disk, which is called vda now, wrote last."""
    vm = make_vm("fsweb", "vda", "vdb", directory=HOME)
    well(vm.take("s1", disks=["vda"]))
    well(vm.take("s2"))
    vm.write("vdb", 42)
    first, second = vm.active_file("vda"), vm.active_file("vdb")
    vm.define(vm.xml(inactive=True).replace(first, "@").replace(second, first).replace("@", second))
    entry = well(agreed(vm.revert, "s1")[1])
    assert vm.reads(second, 42), entry["msg"]
    assert second in [one["file"] for one in vm.info()["kept"]]


def test_an_image_that_another_vm_writes_to_is_not_frozen(make_vm: MakeVm) -> None:
    """As long as there is no snapshot, QEMU's locks keep them apart."""
    vm = template(make_vm, HOME)
    other = make_vm("fsother", Disk("vda", file=f"{HOME}/fstmpl.qcow2", size=""), directory=HOME)
    entry = agreed(vm.take, "s1")[1]
    assert (entry["error_code"], entry["changed"]) == ("frozen_image_written", False), entry["msg"]
    assert "VM fsother" in entry["msg"]
    assert vm.snapshots() == []
    other.virsh("detach-disk", "vda", "--config")
    well(agreed(vm.take, "s1")[1])
