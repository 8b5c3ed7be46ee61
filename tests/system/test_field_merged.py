# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images that are larger than the overlay on them, files that another VM's snapshot names, and names of files that are lost."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .field import MakeVm, agreed, make_vm
from .field_disk import Disk, create_image
from .field_vm import FieldVm
from .odd_disks import both, refused, toggle
from .other_users import filled, well
from .planted import Planted, planted

__all__ = ("make_vm", "planted")

HOME, ELSEWHERE = "/srv/fg", "/srv/fgelsewhere/deep/er"

# Of web with snapshot s1 another VM, with images and memory of its own or with the same.
TWIN = """
set -e; cd {home}
virsh dumpxml --inactive fgweb >vm.xml
virsh snapshot-dumpxml fgweb s1 --security-info >s1.xml
old=$(virsh domuuid fgweb)
sed -i "s/$old/$(cat /proc/sys/kernel/random/uuid)/; s/<name>fgweb</<name>fgtwin</{more}" vm.xml s1.xml
virsh define vm.xml; virsh snapshot-create fgtwin s1.xml --redefine --current
"""
COPY = """
cd {home}; mkdir -p c
cp -a fgweb.qcow2 c/fgtwin.qcow2; cp -a fgweb.s1.memory c/; cp -a fgweb.vda.s1.qcow2 c/
qemu-img rebase -u -f qcow2 -F qcow2 -b {home}/c/fgtwin.qcow2 c/fgweb.vda.s1.qcow2
"""


@pytest.fixture(autouse=True)
def home(planted: Planted) -> Iterator[None]:
    away = f"virsh destroy fgtwin; virsh undefine fgtwin --snapshots-metadata; rm -rf {HOME} /srv/fgelsewhere"
    planted.host.run(f"{away}; mkdir -p {HOME} {ELSEWHERE}")
    yield
    planted.host.run(away)


def size(vm: FieldVm) -> str:
    told = vm.host.run(["qemu-img", "info", "-U", vm.active_file("vda")]).stdout
    return next(line for line in told.splitlines() if line.startswith("virtual size"))


def shrunk(make_vm: MakeVm) -> FieldVm:
    """Return a VM that has 7 at 48 MiB in snapshot s1, and whose disk ends before that now."""
    vm = make_vm("fgweb", "vda", directory=HOME)
    vm.host.run(["qemu-io", "-f", "qcow2", "-c", "write -P 7 48M 64k", vm.active_file("vda")])
    filled(vm)
    vm.host.run(f"qemu-img resize --shrink -f qcow2 {vm.active_file('vda')} 32M")
    return vm


@both
def test_a_disk_that_was_shrunk_does_not_get_its_old_end_back(make_vm: MakeVm, running: bool) -> None:
    vm = shrunk(make_vm)
    before = size(vm)
    toggle(vm, running)
    entry = well(agreed(vm.remove, "s1")[1])
    assert (size(vm), vm.disk_reads("vda", 42)) == (before, True)
    assert any("is larger than" in note for note in entry["notes"]), entry["notes"]


@both
def test_a_disk_that_was_shrunk_and_grown_reads_zeroes_there(make_vm: MakeVm, running: bool) -> None:
    vm = shrunk(make_vm)
    well(vm.take("s2"))
    vm.host.run(f"qemu-img resize -f qcow2 {vm.active_file('vda')} 64M")
    toggle(vm, running)
    for name in ("s1", "s2"):
        well(agreed(vm.remove, name)[1])
        read = ["qemu-io", "-U", "-r", "-f", "qcow2", "-c", "read -P 0 48M 64k", vm.active_file("vda")]
        assert "failed" not in vm.host.run(read, check=False).stdout
    assert vm.disk_reads("vda", 42)


@both
def test_an_image_below_that_was_grown_by_hand_stays_below(make_vm: MakeVm, running: bool) -> None:
    vm = filled(make_vm("fgweb", Disk("vda", format="raw"), directory=HOME))
    before = size(vm)
    vm.host.run(
        f"qemu-img resize -f raw {HOME}/fgweb.raw 128M; qemu-io -f raw -c 'write -P 9 100M 64k' {HOME}/fgweb.raw"
    )
    toggle(vm, running)
    well(agreed(vm.remove, "s1")[1])
    assert (size(vm), vm.disk_reads("vda", 42)) == (before, True)


def test_a_disk_that_was_grown_is_merged(make_vm: MakeVm) -> None:
    vm = filled(make_vm("fgweb", "vda", directory=HOME, start=True))
    vm.virsh("blockresize", "vda", "128M")
    well(agreed(vm.remove, "s1")[1])
    assert vm.active_file("vda") == f"{HOME}/fgweb.qcow2"
    assert "128 MiB" in size(vm)
    vm.sound()


@pytest.mark.parametrize("power", ["off", "running"])
def test_memory_that_was_saved_of_another_vm_starts_neither(make_vm: MakeVm, power: str) -> None:
    vm = make_vm("fgweb", "vda", directory=HOME, start=True)
    vm.write("vda", 1)
    well(vm.take("s1", include_memory=True))
    vm.write("vda", 42)
    vm.off()
    twin = make_vm("fgtwin", "vda", directory=f"{HOME}/c")
    twin.wipe()
    moved = f"; s,{HOME}/fgweb.qcow2,{HOME}/c/fgtwin.qcow2,; s,{HOME}/fgweb,{HOME}/c/fgweb,"
    vm.host.run(COPY.format(home=HOME) + TWIN.format(home=HOME, more=moved))
    toggle(twin, power == "running")
    before = (vm.state, vm.active_file("vda"), twin.state)
    entry = agreed(twin.revert, "s1", accept_changed=True, power="running")[1]
    assert (entry["error_code"], entry["changed"]) == ("bad_state", False), entry["msg"]
    assert (vm.state, vm.active_file("vda"), twin.state) == before
    assert "give power: shutoff" in entry["msg"]
    well(twin.revert("s1", power="shutoff", accept_changed=True))
    assert (twin.disk_reads("vda", 1), vm.disk_reads("vda", 42)) == (True, True)


def test_memory_of_a_vm_that_was_renamed_is_refused_before_it_is_stopped(make_vm: MakeVm) -> None:
    vm = make_vm("fgweb", "vda", directory=HOME, start=True)
    well(vm.take("s1", include_memory=True))
    vm.off()
    vm.host.run("virsh undefine fgtwin; virsh domrename fgweb fgtwin", check=False)
    twin = FieldVm(vm.planted, "fgtwin", directory=HOME)
    if twin.host.run("virsh domuuid fgtwin", check=False).returncode:
        pytest.skip("this libvirt renames no VM with snapshots")
    twin.start()
    assert refused(twin, "bad_state", twin.revert, "s1")
    assert twin.state == "running"


def test_memory_that_another_vms_snapshot_names_stays(make_vm: MakeVm) -> None:
    vm = make_vm("fgweb", "vda", directory=HOME, start=True)
    vm.write("vda", 1)
    well(vm.take("s1", include_memory=True))
    vm.off()
    vm.host.run(TWIN.format(home=HOME, more=""))
    entry = agreed(vm.remove, "s1")[1]
    assert entry["error_code"] in {None, "file_in_use", "frozen_image_written"}, entry["msg"]
    assert vm.exists(f"{HOME}/fgweb.s1.memory")
    vm.host.virsh("undefine", "fgtwin", "--snapshots-metadata")
    well(vm.take("s2"))
    vm.sound()


def test_a_new_overlay_has_no_name_that_a_snapshot_names(make_vm: MakeVm) -> None:
    vm = make_vm("fgweb", "vda", directory=HOME, start=True)
    for number in (1, 2, 3):
        vm.write("vda", number)
        well(vm.take(f"s{number}"))
    first, second = (f"{HOME}/fgweb.vda.s{number}.qcow2" for number in (1, 2))
    vm.host.run(
        f"virsh blockcommit fgweb vda --base {HOME}/fgweb.qcow2 --top {second} --wait && rm -f {first} {second}"
    )
    well(agreed(vm.revert, "s1", accept_changed=True)[1])
    assert vm.active_file("vda") not in {first, second}
    assert vm.info()["definition_changed"] == []
    well(vm.take("s4"))


def test_an_overlay_that_was_put_back_by_a_rename_is_kept_as_check_mode_says(make_vm: MakeVm) -> None:
    vm = filled(make_vm("fgweb", "vda", directory=HOME))
    overlay = vm.active_file("vda")
    vm.host.run(f"cp -a {overlay} {HOME}/b && mv {HOME}/b {overlay}")
    entry = well(agreed(vm.revert, "s1")[1])
    assert (entry["files_removed"], vm.reads(overlay, 42)) == ([], True)


def test_what_another_vms_kept_overlay_is_based_on_is_not_deleted(make_vm: MakeVm) -> None:
    first = filled(make_vm("fga", "vda", "vdb", directory=HOME), "vda", "vdb")
    second = make_vm("fgb", "vda", directory=HOME, directories=(ELSEWHERE,))
    overlay = first.active_file("vdb")
    first.virsh("detach-disk", "vdb", "--config")
    second.virsh("attach-disk", overlay, "vdb", "--driver", "qemu", "--subdriver", "qcow2", "--config")
    well(second.take("s1", disks=["vdb"], overlay_dir=ELSEWHERE))
    above = second.active_file("vdb")
    second.virsh("detach-disk", "vdb", "--config")
    well(second.remove("s1"))
    well(first.remove("s1"))
    entry = agreed(first.prune, orphans=True, detached=True)[1]
    assert entry["error_code"] is None, entry["msg"]
    assert second.reads(above, 42), "its base was deleted"


def test_a_clone_whose_vm_is_not_defined_for_a_while_is_not_merged_into(make_vm: MakeVm) -> None:
    vm = make_vm("fga", "vda", directory=HOME)
    vm.write("vda", 1)
    well(vm.take("s1"))
    clone = make_vm("fgb", Disk("vda", backing=f"{HOME}/fga.qcow2"), directory=ELSEWHERE)
    well(clone.take("s1"))
    vm.write("vda", 42)
    top = clone.active_file("vda")
    clone.virsh("undefine", "--snapshots-metadata")
    well(agreed(vm.remove, "s1")[1])
    assert vm.reads(top, 1)


def test_an_overlay_of_nobody_elsewhere_is_seen_where_a_record_names_that_directory(make_vm: MakeVm) -> None:
    vm = make_vm("fga", "vda", directory=HOME)
    vm.write("vda", 1)
    well(vm.take("s1", overlay_dir=ELSEWHERE))
    other = create_image(vm.host, f"{ELSEWHERE}/other.qcow2", backing=f"{HOME}/fga.qcow2")
    vm.write("vda", 42)
    well(agreed(vm.remove, "s1")[1])
    assert vm.reads(other, 1)
