# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What others write to a snapshot's images is found out, and a revert to it is refused."""

from __future__ import annotations

import pytest

from .field import MakeVm, agreed, make_vm
from .field_disk import Disk, create_image
from .field_vm import FieldVm
from .past_vm import BASE, HOME, goes_back, home, off, pasts, poke, refused, taken, well
from .planted import Planted, planted

__all__ = ("home", "make_vm", "planted")


def backed_up(vm: FieldVm) -> None:
    """Do as most backup scripts do: snapshot without metadata, copy, commit."""
    spec = f"vda,file={HOME}/pastv.bk"
    vm.virsh("snapshot-create-as", "bk", "--disk-only", "--no-metadata", "--atomic", "--diskspec", spec)
    vm.write("vda", 3)
    vm.virsh("blockcommit", "vda", "--active", "--pivot", "--wait")


def test_a_foreign_commit(make_vm: MakeVm) -> None:
    vm = taken(make_vm)
    backed_up(vm)
    refused(vm, "s1")
    assert vm.state == "running"
    assert vm.disk_reads("vda", 3)


@pytest.mark.parametrize("names", [("s1",), ("s1", "s2")])
def test_what_cannot_be_told_apart_stays_where_a_changed_image_is_accepted(
    make_vm: MakeVm, names: tuple[str, ...]
) -> None:
    """The VM is on the frozen image: by a commit, or by an older definition, and then the overlay has its newest data."""
    vm = taken(make_vm, *names)
    overlay = vm.active_file("vda")
    backed_up(vm)
    entry = goes_back(vm, "s1", 3, "accept_changed", accept_changed=True)
    assert vm.exists(overlay)
    now_on = f"has {vm.active_file('vda')} as that disk now"
    assert any(overlay in note and now_on in note for note in entry["notes"]), (now_on, entry["notes"])
    vm.write("vda", 5)
    well(agreed(vm.remove, "s1")[1])
    assert vm.disk_reads("vda", 5)
    assert vm.exists(overlay)


def test_a_foreign_commit_that_a_later_snapshot_hides(make_vm: MakeVm) -> None:
    vm = taken(make_vm)
    backed_up(vm)
    vm.virsh("snapshot-create-as", "later", "--disk-only", "--diskspec", f"vda,file={HOME}/pastv.later")
    vm.write("vda", 4)
    refused(vm, "s1")
    goes_back(vm, "s1", 3, "accept_changed", accept_changed=True)


def test_a_snapshot_taken_after_it_is_as_it_was(make_vm: MakeVm) -> None:
    vm = off(taken(make_vm, "s1", "s2"))
    poke(vm, BASE)
    well(vm.take("s3"))
    assert pasts(vm) == {"s1": "changed", "s2": "changed", "s3": "unchanged"}
    well(agreed(vm.remove, "s3")[1])
    assert pasts(vm) == {"s1": "changed", "s2": "changed"}


def test_a_foreign_commit_in_the_middle(make_vm: MakeVm) -> None:
    vm = taken(make_vm, "s1", "s2")
    state = next(one for one in vm.info()["snapshots"] if one["name"] == "s2")["disks"][0]["base"]
    vm.virsh("blockcommit", "vda", "--top", state, "--base", BASE, "--wait")
    assert pasts(vm) == {"s1": "changed", "s2": "changed"}
    refused(vm, "s1")
    assert vm.disk_reads("vda", 3)


def test_an_image_written_by_hand(make_vm: MakeVm) -> None:
    vm = off(taken(make_vm))
    poke(vm, BASE)
    refused(vm, "s1")


def test_an_overlay_committed_by_hand(make_vm: MakeVm) -> None:
    vm = off(taken(make_vm, "s1", "s2"))
    state = next(one for one in vm.info()["snapshots"] if one["name"] == "s2")["disks"][0]["base"]
    vm.host.run(["qemu-img", "commit", "-q", "-d", "-f", "qcow2", state])
    refused(vm, "s1")
    refused(vm, "s2")


def test_a_second_vm_that_ran_on_it(make_vm: MakeVm) -> None:
    vm = off(taken(make_vm))
    second = make_vm("pastother", Disk("vda", file=BASE, size=""), directory=f"{HOME}2", start=True)
    assert pasts(vm) == {"s1": "unchanged"}
    second.write("vda", 77)
    second.wipe()
    refused(vm, "s1")


def test_an_old_definition_that_wrote_to_it(make_vm: MakeVm) -> None:
    vm = make_vm("pastv", directory=HOME)
    old = vm.xml(inactive=True)
    well(vm.take("s1"))
    right = vm.xml(inactive=True)
    vm.define(old)
    vm.start()
    vm.write("vda", 77)
    vm.off()
    vm.define(right)
    refused(vm, "s1")


def test_a_template_far_below(make_vm: MakeVm, planted: Planted) -> None:
    template = create_image(planted.host, f"{HOME}/template.raw", "raw", size="1M")
    vm = taken(make_vm, disk=Disk("vda", backing=template, backing_format="raw"), start=False)
    create_image(vm.host, template, "raw", size="1M")
    refused(vm, "s1", template)


def test_a_memory_file(make_vm: MakeVm) -> None:
    vm = make_vm("pastv", directory=HOME, start=True)
    file = well(vm.take("s1", include_memory=True))["snapshot"]["memory_file"]
    assert pasts(vm) == {"s1": "unchanged"}
    vm.host.run(f"printf x >> {file}")
    refused(vm, "s1", file)


def test_a_file_that_took_its_place(make_vm: MakeVm) -> None:
    vm = off(taken(make_vm))
    vm.host.run(f"rm {BASE}")
    create_image(vm.host, BASE)
    refused(vm, "s1")
    vm.host.run(f"yes | head -c 1M > {BASE}")
    assert pasts(vm) == {"s1": "changed"}


def test_a_link_that_leads_to_another_image_now(make_vm: MakeVm) -> None:
    """As people name the template of the day: neither is a revert to it true, nor is it merged into."""
    vm = make_vm("pastv", "vda", directory=HOME)
    newer = f"{HOME}/newer.qcow2"
    vm.host.run(f"cd {HOME} && mv pastv.qcow2 first.qcow2 && ln -s first.qcow2 pastv.qcow2")
    create_image(vm.host, newer)
    poke(vm, newer, 77)
    well(vm.take("s1"))
    vm.write("vda", 42)
    vm.host.run(f"ln -sfn newer.qcow2 {BASE}")
    assert pasts(vm)["s1"] == "changed"
    assert agreed(vm.revert, "s1")[1]["error_code"] == "snapshot_changed"
    entry = well(agreed(vm.remove, "s1")[1])
    assert vm.reads(newer, 77), entry["msg"]
    assert vm.disk_reads("vda", 42)
    assert any("first.qcow2" in note for note in entry["notes"]), entry["notes"]


def test_what_was_changed_stays_changed_when_it_is_merged(make_vm: MakeVm) -> None:
    vm = off(taken(make_vm, "s1", "s2"))
    poke(vm, BASE)
    well(agreed(vm.remove, "s1")[1])
    assert vm.disk_reads("vda", 3)
    refused(vm, "s2")
    goes_back(vm, "s2", 2, "accept_changed", accept_changed=True)
