# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that have the name of ours and are somebody else's, overlays while nobody has said which is the newest, and VMs that
somebody starts during a revert.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .field import MakeVm, agreed, make_vm
from .field_disk import create_image
from .field_vm import FieldVm
from .other_users import filled, well
from .planted import Planted, only, planted

__all__ = ("make_vm", "planted")

HOME = "/srv/fw"


@pytest.fixture(autouse=True)
def home(planted: Planted) -> Iterator[None]:
    planted.host.run(f"rm -rf {HOME}; mkdir -p {HOME}")
    yield
    planted.host.run(f"rm -rf {HOME}")


def somebodys(vm: FieldVm, path: str, backing: str) -> None:
    """Put another image at a path; its content is 99."""
    vm.host.run(f"rm -f {path}; sleep 0.1")
    create_image(vm.host, path, backing=backing)
    vm.host.run(["qemu-io", "-f", "qcow2", "-c", "write -P 99 0 64k", path])


@pytest.mark.parametrize("how", ["created again", "snapshot forgotten", "started again"])
def test_no_overlay_is_an_orphan_while_the_newest_image_is_in_doubt(make_vm: MakeVm, how: str) -> None:
    vm = make_vm("fwweb", "vda", "vdb", directory=HOME)
    old = vm.xml(inactive=True)
    filled(vm, "vda", "vdb")
    newest = [vm.active_file(target) for target in ("vda", "vdb")]
    if how == "created again":
        vm.virsh("undefine", "--snapshots-metadata")
        vm.define(old)
    else:
        vm.define(old)
        vm.virsh("snapshot-delete", "s1", "--metadata")
    if how == "started again":
        vm.virsh("start")
    info = vm.info()
    assert set(info["definition_changed"]) == {"vda", "vdb"}
    assert not set(newest).intersection(info["orphans"])
    for options in ({"orphans": True}, {"orphans": True, "detached": True}):
        entry = agreed(vm.prune, **options)[1]
        assert entry["files_removed"] == [], entry["msg"]
        assert all(vm.reads(file, 42) for file in newest), entry["msg"]


def test_what_definition_changed_says_is_enough(make_vm: MakeVm) -> None:
    vm = make_vm("fwweb", "vda", directory=HOME)
    old = vm.xml(inactive=True)
    overlay = filled(vm, "vda").active_file("vda")
    vm.define(old)
    msg = agreed(vm.take, "s2")[1]["msg"]
    assert "virsh snapshot-delete fwweb s1 --metadata" in msg
    assert f"move {overlay} to another directory" in msg
    vm.virsh("snapshot-delete", "s1", "--metadata")
    vm.host.run(f"mkdir {HOME}/away; mv {overlay} {HOME}/away")
    well(agreed(vm.take, "s2")[1])
    assert vm.disk_reads("vda", 1)
    assert vm.reads(f"{HOME}/away/{overlay.rpartition('/')[2]}", 42)


def test_a_file_in_the_place_of_a_detached_overlay_is_kept(make_vm: MakeVm) -> None:
    vm = filled(make_vm("fwweb", "vda", "vdb", directory=HOME), "vda", "vdb")
    path = vm.active_file("vdb")
    vm.virsh("detach-disk", "vdb", "--config")
    well(vm.remove("s1"))
    somebodys(vm, path, f"{HOME}/fwweb-vdb.qcow2")
    entry = agreed(vm.prune, orphans=True, detached=True)[1]
    assert vm.reads(path, 99), entry["msg"]
    assert "another file has this name now" in str(vm.info()["kept"])


@pytest.mark.parametrize("step", ["take_steps.Taking, '_make_overlays'", "take_steps.Taking, '_switch'"])
def test_a_file_in_the_place_of_a_killed_takes_overlay_is_kept(make_vm: MakeVm, planted: Planted, step: str) -> None:
    vm = make_vm("fwweb", "vda", directory=HOME)
    assert planted.snapshot(f"before({step}, die)", vm.name, "s1", quiesce="never") == {"killed": True}
    path = f"{HOME}/fwweb.vda.s1.qcow2"
    somebodys(vm, path, f"{HOME}/fwweb.qcow2")
    entry = well(vm.take("s2"))
    assert vm.reads(path, 99), entry["msg"]
    assert path in entry["recovered"]
    assert path not in entry["files_removed"]


def test_a_file_in_the_place_of_a_killed_reverts_overlay_is_kept(make_vm: MakeVm, planted: Planted) -> None:
    vm = filled(make_vm("fwweb", "vda", directory=HOME), "vda")
    fault = "before(revert.Revert, '_commit', die)"
    assert planted.revert(fault, vm.name, "s1") == {"killed": True}
    path = f"{HOME}/fwweb.vda.s1-2.qcow2"
    assert vm.exists(path)
    somebodys(vm, path, f"{HOME}/fwweb.qcow2")
    entry = vm.take("s2")
    assert vm.reads(path, 99), entry["msg"]
    assert vm.disk_reads("vda", 42)


@pytest.mark.parametrize("step", ["Revert, '_begin'", "Revert, '_commit'", "stop", "Revert, '_define'"])
def test_a_vm_that_is_started_during_its_revert_runs_on_what_it_had(
    make_vm: MakeVm, planted: Planted, step: str
) -> None:
    vm = filled(make_vm("fwweb", "vda", directory=HOME), "vda")
    files = vm.host.run(["ls", HOME]).stdout
    place = "revert, 'stop'" if step == "stop" else f"revert.{step}"
    fault = f"before({place}, lambda: subprocess.run('virsh start {vm.name}', shell=True, stdout=2))"
    entry = only(planted.revert(fault, vm.name, "s1"))
    assert vm.state == "running", entry["msg"]
    assert (entry["error_code"], entry["files_removed"], entry["power"]) == ("busy", [], "running"), entry["msg"]
    assert vm.disk_reads("vda", 42)
    assert vm.host.run(["ls", HOME]).stdout == files
    vm.sound()


@pytest.mark.parametrize("meanwhile", ["take", "revert"])
def test_a_snapshot_inside_an_image_that_the_running_vm_has_left(make_vm: MakeVm, meanwhile: str) -> None:
    vm = make_vm("fwweb", "vda", directory=HOME, start=True)
    well(vm.take("s1"))
    vm.virsh("snapshot-create-as", "i1")
    vm.write("vda", 3)
    well(vm.take("s2") if meanwhile == "take" else vm.revert("s1"))
    before = vm.snapshots()
    for options in ({"name": "i1"}, {"all_snapshots": True}):
        entry = agreed(vm.remove, **options)[1]
        assert (entry["error_code"], entry["changed"]) == ("bad_state", False), entry["msg"]
        assert f"virsh shutdown {vm.name}" in entry["msg"]
        assert vm.snapshots() == before
    vm.off()
    well(vm.remove("i1"))
    assert "i1" not in vm.snapshots()


def test_an_overlay_goes_with_the_last_snapshot_inside_it(make_vm: MakeVm) -> None:
    vm = make_vm("fwweb", "vda", directory=HOME)
    well(vm.take("s1"))
    for name in ("i1", "i2"):
        vm.virsh("snapshot-create-as", name)
    overlay = vm.active_file("vda")
    vm.write("vda", 4)
    well(agreed(vm.remove, "s1")[1])
    assert well(agreed(vm.remove, "i1")[1])["files_removed"] == []
    assert well(agreed(vm.remove, "i2")[1])["files_removed"] == [overlay]
    assert vm.disk_reads("vda", 4)
    vm.sound()


def test_a_run_that_ends_an_interrupted_merge_and_fails_has_changed_the_vm(make_vm: MakeVm, planted: Planted) -> None:
    mount = f"{HOME}/m"
    planted.host.run(f"mkdir -p {mount}; mount -t tmpfs -o size=50M,mode=755 none {mount}")
    try:
        vm = filled(make_vm("fwweb", "vda", directory=mount), "vda")
        for step, code in (
            ("merge_layers, 'commit_image'", "merge_failed"),
            ("vm_handle.VmHandle, 'define'", "file_not_removed"),
        ):
            fault = f"before({step}, lambda: subprocess.run('mount -o remount,ro {mount}', shell=True, stdout=2))"
            entry = only(planted.remove(fault, vm.name, name="s1"))
            vm.host.run(f"mount -o remount,rw {mount}")
            assert (entry["error_code"], entry["changed"]) == (code, True), entry["msg"]
        assert vm.active_file("vda") == f"{mount}/fwweb.qcow2"
        well(vm.remove("s1"))
        assert vm.disk_reads("vda", 42)
        vm.wipe()
    finally:
        planted.host.run(f"umount {mount}")
