# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a disk was on last has its newest data, whoever made that image: it stays when the disk is put elsewhere or detached."""

from __future__ import annotations

from typing import Any

import pytest

from .field import MakeVm, agreed, make_vm
from .field_disk import Disk, create_image
from .field_vm import FieldVm
from .other_users import HOME, filled, home, names, well
from .planted import Planted, planted

__all__ = ("home", "make_vm", "planted")


def attach(vm: FieldVm, file: str, *how: str, target: str = "vdb") -> None:
    vm.virsh("attach-disk", file, target, "--driver", "qemu", "--subdriver", "qcow2", *how)


def put_on(vm: FieldVm, target: str, file: str, *how: str) -> None:
    """Put a disk on another image, as an operator does."""
    vm.virsh("detach-disk", target, *how)
    attach(vm, file, *how, target=target)


def on_its_own(vm: FieldVm, base: str) -> str:
    """Put vda on an overlay of the operator's."""
    own = create_image(vm.host, f"{HOME}/{vm.name}.own.qcow2", backing=base)
    put_on(vm, "vda", own, "--config")
    return own


def virsh_takes(vm: FieldVm, name: str) -> str:
    """Take a snapshot without this collection, and write 42; return the overlay."""
    vm.virsh("snapshot-create-as", name, "--disk-only", "--diskspec", f"vda,file={HOME}/{vm.name}.{name}.qcow2")
    vm.write("vda", 42)
    return vm.active_file("vda")


def night(vm: FieldVm, name: str) -> Any:
    """Take a snapshot, and prune it the next day."""
    well(vm.take(name))
    return well(agreed(vm.prune, keep_last=0, names=[name])[1])


def test_a_state_that_was_attached_as_a_second_disk(make_vm: MakeVm) -> None:
    """As one does to bring a file back from a snapshot; the nights go on meanwhile, and when it is detached."""
    vm = make_vm("leftweb", "vda", directory=HOME)
    base = vm.active_file("vda")
    well(vm.take("keep"))
    old = create_image(vm.host, f"{HOME}/leftweb.old.qcow2", backing=base)
    attach(vm, old, "--config")
    vm.write("vdb", 77)
    night(vm, "n1")
    vm.virsh("detach-disk", "vdb", "--config")
    night(vm, "n2")
    assert vm.reads(old, 77)


@pytest.mark.parametrize("back", ["an overlay", "an old definition"])
def test_what_virsh_had_made_while_a_clone_keeps_its_base(make_vm: MakeVm, back: str) -> None:
    vm = make_vm("leftweb", "vda", directory=HOME)
    base, before = vm.active_file("vda"), vm.xml(inactive=True)
    overlay = virsh_takes(vm, "v1")
    clone = create_image(vm.host, f"{HOME}/clone.qcow2", backing=base)
    make_vm("leftapp", Disk("vda", clone, size=""), directory=HOME)
    well(agreed(vm.remove, "v1")[1])
    vm.write("vda", 42)
    if back == "an overlay":
        on_its_own(vm, base)
        night(vm, "s2")
    else:
        vm.define(before)
        assert agreed(vm.take, "s2")[1]["error_code"] == "definition_changed"
        vm.redefine(base, overlay)
        night(vm, "s2")
    assert vm.reads(overlay, 42)


@pytest.mark.parametrize("how", ["other image", "live only"])
def test_a_revert_keeps_what_the_stop_leaves(make_vm: MakeVm, how: str) -> None:
    """A disk outside the snapshot that the VM runs on, and is not defined on."""
    disks = ["vda", "vdb"] if how == "other image" else ["vda"]
    vm = make_vm("leftweb", *disks, directory=HOME, start=True)
    first = vm.active_file("vda")
    well(vm.take("s0", **({"disks": ["vda"]} if how == "other image" else {})))
    if how == "live only":
        attach(vm, create_image(vm.host, f"{HOME}/leftweb.old.qcow2", backing=first), "--live")
    else:
        base = vm.active_file("vdb")
    well(vm.take("s1"))
    newest = vm.active_file("vdb")
    vm.write("vdb", 42)
    if how == "other image":
        put_on(vm, "vdb", create_image(vm.host, f"{HOME}/leftweb.mine.qcow2", backing=base), "--config")
    entry = well(agreed(vm.revert, "s0")[1])
    assert vm.reads(newest, 42), entry["msg"]
    assert newest in entry["kept"], entry["msg"]
    assert names(entry["notes"], newest, "vdb"), entry["notes"]


def test_after_a_killed_revert_that_of_others_stays_too(make_vm: MakeVm, planted: Planted) -> None:
    vm = make_vm("leftweb", "vda", directory=HOME)
    base = vm.active_file("vda")
    overlay = virsh_takes(vm, "v1")
    assert planted.revert("before(revert.Revert, '_define', die)", vm.name, "v1") == {"killed": True}
    on_its_own(vm, base)
    entry = well(vm.take("s2"))
    assert vm.reads(overlay, 42), entry["msg"]


def test_a_disk_that_a_killed_revert_leaves_alone_keeps_what_it_was_on(make_vm: MakeVm, planted: Planted) -> None:
    vm = make_vm("leftweb", "vda", "vdb", directory=HOME)
    base = vm.active_file("vdb")
    well(vm.take("s0", disks=["vda"]))
    well(vm.take("s1"))
    newest = vm.active_file("vdb")
    vm.write("vdb", 42)
    assert planted.revert("before(revert.Revert, '_define', die)", vm.name, "s0") == {"killed": True}
    put_on(vm, "vdb", create_image(vm.host, f"{HOME}/leftweb.own.qcow2", backing=base), "--config")
    entry = vm.take("s2")
    assert vm.reads(newest, 42), entry["msg"]
    assert newest in [one["file"] for one in vm.info()["kept"]]


def test_who_writes_below_a_half_merged_layer_is_no_sign_that_it_is_merged(make_vm: MakeVm, planted: Planted) -> None:
    vm = make_vm("leftweb", "vda", directory=HOME)
    base = vm.active_file("vda")
    well(vm.take("s1"))
    newest = vm.active_file("vda")
    vm.write("vda", 42)
    assert planted.remove("before(merge_layers, 'commit_image', die)", vm.name, name="s1") == {"killed": True}
    vm.host.run(f"setsid qemu-nbd -t -f qcow2 -k {HOME}/nbd {base} >/dev/null 2>&1 </dev/null & sleep 2")
    entry = vm.take("s2")
    assert (entry["error_code"], vm.active_file("vda")) == ("file_in_use", newest), entry["msg"]
    vm.host.run(f"pkill -f '[q]emu-nbd -t -f qcow2 -k {HOME}/nbd'; sleep 1")
    well(vm.take("s2"))
    assert vm.disk_reads("vda", 42)


@pytest.mark.parametrize("then", ["elsewhere", "detached"])
def test_after_a_killed_removal_what_was_left_stays(make_vm: MakeVm, planted: Planted, then: str) -> None:
    vm = make_vm("leftweb", "vda", directory=HOME)
    base = vm.active_file("vda")
    well(vm.take("s0"))
    state = vm.active_file("vda")
    if then == "elsewhere":
        newest = virsh_takes(vm, "v1")
        going = "s0"
    else:
        attach(vm, create_image(vm.host, f"{HOME}/leftweb.old.qcow2", backing=base), "--config")
        well(vm.take("s1"))
        newest, going = vm.active_file("vdb"), "s1"
        vm.write("vdb", 42)
    assert planted.remove("before(merge_layers, 'commit_image', die)", vm.name, name=going) == {"killed": True}
    if then == "elsewhere":
        on_its_own(vm, state)
    else:
        vm.virsh("detach-disk", "vdb", "--config")
    entry = well(vm.take("s2"))
    assert vm.reads(newest, 42), entry["msg"]


def test_a_merge_that_a_pull_makes_look_finished(make_vm: MakeVm, planted: Planted) -> None:
    vm = filled(make_vm("leftweb", "vda", directory=HOME))
    lower = vm.active_file("vda")
    well(vm.take("s2"))
    upper = vm.active_file("vda")
    vm.write("vda", 43, "1M")
    well(vm.take("s3"))
    top = vm.active_file("vda")
    half = ["qemu-io", "-f", "qcow2", "-c", "write -P 43 0 64k", lower]
    killed = f"before(merge_layers, 'commit_image', lambda: (subprocess.run({half}, stdout=2), die()))"
    assert planted.remove(killed, vm.name, name="s2") == {"killed": True}
    vm.start()
    vm.virsh("blockpull", "vda", "--wait")
    vm.off()
    done = vm.remove("s3")  # check mode does not read the images for that
    assert done["error_code"] == "merge_failed", done["msg"]
    assert vm.reads(upper, 43, size="1M")
    vm.host.run(["qemu-img", "commit", "-q", "-d", "-f", "qcow2", "-b", lower, upper])
    assert f"-b {lower} {upper}" in done["msg"]
    assert vm.take("s3")["error_code"] is None  # it is there
    well(agreed(vm.revert, "s3")[1])
    assert vm.disk_reads("vda", 43, "1M"), vm.active_file("vda")
    assert top not in vm.files() or vm.reads(top, 43, size="1M")


@pytest.mark.parametrize("who", ["a VM", "nobody: it is lost"])
def test_a_revert_inside_an_image_asks_whose_it_is(make_vm: MakeVm, who: str) -> None:
    vm = make_vm("leftweb", "vda", directory=HOME)
    image = vm.active_file("vda")
    for name in ("i1", "i2"):
        vm.virsh("snapshot-create-as", name)
    if who == "a VM":
        other = make_vm("leftapp", Disk("vda", image, size=""), directory=HOME)
        other.write("vda", 77)
        code, says = "frozen_image_written", "leftapp"
    else:
        vm.write("vda", 77)
        vm.host.run(["qemu-img", "snapshot", "-d", "i1", image])
        code, says = "file_missing", image
        vm.start()
        assert names(vm.info()["problems"], "'i1'", image)
    told, done = agreed(vm.revert, "i1")
    assert (told["error_code"], done["error_code"]) == (code, code), done["msg"]
    assert says in done["msg"]
    assert vm.state == ("running" if code == "file_missing" else "shut off")
    assert vm.disk_reads("vda", 77)


def test_a_kept_overlay_that_saved_memory_goes_on_with(make_vm: MakeVm) -> None:
    vm = filled(make_vm("leftweb", "vda", "vdb", directory=HOME), "vda", "vdb")
    kept = vm.active_file("vdb")
    vm.virsh("detach-disk", "vdb", "--config")
    assert kept in well(agreed(vm.remove, "s1")[1])["kept"]
    vm.start()
    attach(vm, kept, "--live")
    vm.virsh("managedsave")
    told, done = agreed(vm.prune, detached=True)
    assert (told["error_code"], done["error_code"]) == ("managed_save", "managed_save"), done["msg"]
    assert vm.reads(kept, 42)
    vm.virsh("managedsave-remove")
    assert kept in well(agreed(vm.prune, detached=True)[1])["orphans_removed"]


def test_a_spoilt_snapshot_that_is_asked_for_again_is_called_that(make_vm: MakeVm) -> None:
    vm = filled(make_vm("leftweb", "vda", directory=HOME))
    vm.host.run(["qemu-io", "-f", "qcow2", "-c", "write -P 9 0 64k", f"{HOME}/leftweb.qcow2"])
    entry = agreed(vm.take, "s1")[1]
    assert (entry["changed"], entry["error_code"]) == (False, None)
    assert "others have changed its images" in entry["msg"]
