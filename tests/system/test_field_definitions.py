# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A definition of before comes back: what was written since is on no disk of the VM, and is not lost."""

from __future__ import annotations

from functools import partial
from typing import Callable

import pytest

from .field import MakeVm, agreed, make_vm
from .field_disk import Disk, create_image
from .field_vm import FieldVm
from .other_users import HOME, REMOVALS, Action, filled, home, refused, rest_is_removed, told, well
from .planted import planted

__all__ = ("home", "make_vm", "planted")

CHANGES: dict[str, Callable[[FieldVm], Action]] = {
    "take": lambda vm: partial(vm.take, "s2"),
    "revert": lambda vm: partial(vm.revert, "s1"),
    "revert and keep": lambda vm: partial(vm.revert, "s1", keep_current=True),
    **REMOVALS,
}


@pytest.mark.parametrize("how", CHANGES)
def test_a_definition_of_before_the_snapshot(make_vm: MakeVm, how: str) -> None:
    vm = make_vm("fuweb", "vda", "vdb", directory=HOME, start=True)
    saved = vm.xml(inactive=True)
    filled(vm, "vda", "vdb")
    overlays = [vm.active_file(target) for target in ("vda", "vdb")]
    vm.off()
    vm.define(saved)
    refused(vm, CHANGES[how](vm), overlays[0])
    assert vm.reads(overlays[1], 42)
    for overlay in overlays:
        told(vm, overlay)


def test_a_definition_of_before_the_snapshot_put_right_again(make_vm: MakeVm) -> None:
    vm = make_vm("fuweb", "vda", directory=HOME, start=True)
    saved = vm.xml(inactive=True)
    filled(vm)
    overlay, right = vm.active_file("vda"), vm.xml(inactive=True)
    vm.off()
    vm.define(saved)
    refused(vm, partial(vm.remove, "s1"), overlay)
    vm.define(right)
    vm.sound()
    well(agreed(vm.remove, "s1")[1])
    rest_is_removed(vm)


def test_a_definition_in_which_one_disk_is_of_before_the_snapshot(make_vm: MakeVm) -> None:
    vm = filled(make_vm("fuweb", "vda", "vdb", directory=HOME, start=True), "vda", "vdb")
    overlay = vm.active_file("vdb")
    vm.off()
    vm.redefine(overlay, f"{HOME}/fuweb-vdb.qcow2")
    told(vm, overlay)
    refused(vm, partial(vm.remove, "s1"), overlay)


def test_the_overlay_was_deleted_by_hand(make_vm: MakeVm) -> None:
    """Nobody is told to put the disk on a file that is gone; the way out that is told works."""
    vm = make_vm("fuweb", "vda", directory=HOME, start=True)
    saved = vm.xml(inactive=True)
    filled(vm)
    overlay = vm.active_file("vda")
    vm.off()
    vm.define(saved)
    vm.host.run(["rm", overlay])
    entry = agreed(vm.take, "s2")[1]
    assert (entry["error_code"], entry["changed"]) == ("definition_changed", False), entry["msg"]
    assert f"{overlay}, which is gone" in entry["msg"]
    vm.virsh("snapshot-delete", "s1", "--metadata")
    well(agreed(vm.take, "s2")[1])
    well(agreed(vm.remove, "s2")[1])
    assert vm.info()["look"] != "act"


@pytest.mark.parametrize("how", CHANGES)
def test_a_definition_of_before_a_revert(make_vm: MakeVm, how: str) -> None:
    """The overlay of before the revert is there still, since a clone is based on it; the newest data is on the other branch."""
    vm = filled(make_vm("fuweb", "vda", directory=HOME, start=True))
    vm.off()
    saved, before = vm.xml(inactive=True), vm.active_file("vda")
    clone = create_image(vm.host, f"{HOME}/clone.qcow2", backing=before)
    well(vm.revert("s1"))
    vm.write("vda", 42)
    overlay, right = vm.active_file("vda"), vm.xml(inactive=True)
    assert overlay != before
    vm.define(saved)
    refused(vm, CHANGES[how](vm), overlay)
    told(vm, overlay)
    assert vm.info()["definition_changed"] == ["vda"]
    vm.define(right)
    well(agreed(vm.remove, "s1")[1])
    assert vm.disk_reads("vda", 42)
    assert vm.reads(clone, 42)


def without_snapshots(make_vm: MakeVm, image_format: str) -> tuple[FieldVm, str, str]:
    """Return a VM that is off, whose only snapshot is gone and whose overlay stays, with that file and its older definition."""
    vm = make_vm("fuweb", Disk("vda", format=image_format), directory=HOME, start=True)
    older, base = vm.xml(inactive=True), vm.active_file("vda")
    filled(vm)
    create_image(vm.host, f"{HOME}/clone.qcow2", backing=base, backing_format=image_format)
    overlay = vm.active_file("vda")
    well(vm.remove("s1"))
    assert vm.active_file("vda") == overlay
    vm.off()
    return vm, overlay, older


@pytest.mark.parametrize("image_format", ["qcow2", "raw"])
def test_a_definition_of_before_a_snapshot_that_was_removed(make_vm: MakeVm, image_format: str) -> None:
    """No snapshot speaks of the overlay any more; a start of the VM would destroy what is in it."""
    vm, overlay, older = without_snapshots(make_vm, image_format)
    right = vm.xml(inactive=True)
    assert vm.info()["look"] != "act"
    vm.define(older)
    info = vm.info()
    assert (info["look"], info["definition_changed"]) == ("act", ["vda"]), info
    told(vm, overlay)
    refused(vm, partial(vm.take, "s2"), overlay)
    assert agreed(vm.prune, detached=True, orphans=True)[1]["orphans_removed"] == []
    vm.define(right)
    well(agreed(vm.take, "s2")[1])
    assert vm.disk_reads("vda", 42)


def test_a_resize_is_newer_than_a_definition_of_before(make_vm: MakeVm) -> None:
    """The overlay holds nothing but a larger size; QEMU 10.0 and later write nothing for that."""
    vm, overlay, older = without_snapshots(make_vm, "raw")
    vm.host.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", f"{HOME}/fuweb.raw", "-F", "raw", overlay])
    vm.host.run(["qemu-img", "resize", "-q", "-f", "qcow2", overlay, "+1M"])
    vm.define(older)
    assert vm.info()["look"] == "act"
    assert agreed(vm.take, "s2")[1]["error_code"] == "definition_changed"


@pytest.mark.parametrize("tool", ["blockpull", "rebase"])
def test_what_was_pulled_into_the_overlay_is_newer_than_a_definition_of_before(make_vm: MakeVm, tool: str) -> None:
    """The overlay names no image any more; the record knows what it was made on."""
    vm, overlay, older = without_snapshots(make_vm, "qcow2")
    if tool == "rebase":
        vm.host.run(["qemu-img", "rebase", "-f", "qcow2", "-b", "", overlay])
    else:
        vm.start()
        vm.host.virsh("blockpull", vm.name, "vda", "--wait")
        vm.off()
    well(agreed(vm.take, "s2")[1])
    well(vm.remove("s2"))  # the record is closed with the overlay as it is now
    right = vm.xml(inactive=True)
    vm.define(older)
    info = vm.info()
    assert (info["look"], info["definition_changed"]) == ("act", ["vda"]), info
    refused(vm, partial(vm.take, "s3"), overlay)
    vm.define(right)
    well(agreed(vm.take, "s3")[1])
    assert vm.disk_reads("vda", 42)


@pytest.mark.parametrize("written", [True, False])
def test_an_overlay_that_others_commit_is_no_older_definition(make_vm: MakeVm, written: bool) -> None:
    vm, overlay, older = without_snapshots(make_vm, "qcow2")
    if not written:  # a commit of what is empty writes nothing: the image under it stays older
        vm.host.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", f"{HOME}/fuweb.qcow2", "-F", "qcow2", overlay])
    vm.host.run(["qemu-img", "commit", "-q", overlay])
    vm.define(older)
    assert vm.info()["definition_changed"] == []
    well(agreed(vm.take, "s2")[1])
    assert vm.disk_reads("vda", 42) == written


def test_a_prune_deletes_nothing_while_nobody_has_said_which_image_is_the_newest(make_vm: MakeVm) -> None:
    vm = filled(make_vm("fuweb", "vda", directory=HOME))
    saved, before = vm.xml(inactive=True), vm.active_file("vda")
    create_image(vm.host, f"{HOME}/clone.qcow2", backing=before)
    well(vm.revert("s1"))
    vm.write("vda", 42)
    overlay = vm.active_file("vda")
    vm.host.run(["virsh", "snapshot-delete", vm.name, "s1", "--metadata"])  # nothing names the overlay now
    vm.define(saved)
    told(vm, overlay)
    assert vm.info()["definition_changed"] == ["vda"]
    assert agreed(vm.prune, detached=True, orphans=True)[1]["orphans_removed"] == []
    assert vm.reads(overlay, 42)


def test_a_definition_of_between_two_snapshots(make_vm: MakeVm) -> None:
    vm = make_vm("fuweb", "vda", directory=HOME, start=True)
    well(vm.take("s1"))
    vm.write("vda", 41)
    saved = vm.xml(inactive=True)
    well(vm.take("s2"))
    vm.write("vda", 42)
    overlay = vm.active_file("vda")
    vm.off()
    vm.define(saved)
    told(vm, overlay)
    for action in (partial(vm.remove, "s2"), partial(vm.remove, "s1"), partial(vm.revert, "s1")):
        refused(vm, action, overlay)


@pytest.mark.parametrize("how", ["absent", "take", "prune"])
def test_a_definition_that_comes_back_while_the_vm_runs(make_vm: MakeVm, how: str) -> None:
    """Then libvirt itself still knows what the VM runs on; its next start must not lose that."""
    vm = make_vm("fuweb", "vda", directory=HOME, start=True)
    saved = vm.xml(inactive=True)
    filled(vm)
    overlay = vm.active_file("vda")
    vm.define(saved)
    told(vm, overlay)
    entry = agreed(CHANGES[how](vm))[1]
    assert vm.disk_reads("vda", 42), entry["msg"]
    if entry["error_code"] is None:
        vm.off()
        assert vm.disk_reads("vda", 42), f"the next start loses it: {entry['msg']}"
    else:
        assert (entry["error_code"], entry["changed"]) == ("definition_changed", False), entry["msg"]
