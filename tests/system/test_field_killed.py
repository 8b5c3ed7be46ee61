# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What others do to a VM after a run was killed: the next task ends that run's work, and theirs stays."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .field import MakeVm, agreed, make_vm
from .field_vm import FieldVm
from .other_users import filled, names, well
from .planted import Planted, planted

__all__ = ("make_vm", "planted")

HOME, RECORDS = "/srv/fk", "/var/lib/limiquantix-kvm"


@pytest.fixture(autouse=True)
def home(planted: Planted) -> Iterator[None]:
    planted.host.run(f"rm -rf {HOME}; mkdir -p {HOME}")
    yield
    planted.host.run(f"rm -rf {HOME}")


def killed_revert(make_vm: MakeVm, planted: Planted, step: str, start: bool = False) -> FieldVm:
    """Return a VM whose revert to s1 was killed before a step; its newest data is 42."""
    vm = filled(make_vm("fkweb", "vda", directory=HOME, start=start))
    assert planted.revert(f"before({step}, die)", vm.name, "s1") == {"killed": True}
    return vm


@pytest.mark.parametrize("step", ["_define", "_verify"])
def test_a_snapshot_of_virsh_after_a_killed_revert_stays(make_vm: MakeVm, planted: Planted, step: str) -> None:
    vm = killed_revert(make_vm, planted, f"revert.Revert, '{step}'")
    vm.virsh("snapshot-create-as", "x", "--disk-only")
    vm.write("vda", 77)
    top = vm.active_file("vda")
    entry = well(vm.take("s2"))
    assert vm.reads(top, 77), entry["msg"]
    assert vm.disk_reads("vda", 77)
    assert {"x", "s2"} <= set(vm.snapshots())
    vm.sound()


def test_a_record_that_comes_back_from_a_backup_is_not_carried_out_again(make_vm: MakeVm, planted: Planted) -> None:
    """The host's /var is restored to how it was during a revert that has ended long since."""
    vm = killed_revert(make_vm, planted, "revert.Revert, '_define'")
    vm.host.run(f"mkdir -p {HOME}/old; cp -p {RECORDS}/{vm.uuid}.json {HOME}/old/")
    well(vm.take("s9"))
    vm.write("vda", 77)
    newest = vm.active_file("vda")
    vm.host.run(f"cp -p {HOME}/old/{vm.uuid}.json {RECORDS}/")
    entry = vm.take("s3")
    assert vm.reads(newest, 77), entry["msg"]
    assert vm.disk_reads("vda", 77)


@pytest.mark.parametrize("step", ["revert.Revert, '_verify'", "revert, 'start'"])
def test_memory_is_not_loaded_onto_a_disk_that_was_used_since(make_vm: MakeVm, planted: Planted, step: str) -> None:
    vm = make_vm("fkweb", "vda", directory=HOME, start=True)
    vm.write("vda", 1)
    well(vm.take("s1", include_memory=True))
    vm.write("vda", 42)
    assert planted.revert(f"before({step}, die)", vm.name, "s1") == {"killed": True}
    vm.start()
    vm.write("vda", 77)
    vm.off()
    entry = well(vm.take("s2"))
    assert "Somebody has used the VM since" in entry["msg"]
    assert (vm.state, vm.disk_reads("vda", 77)) == ("shut off", True)
    vm.sound()


def test_what_is_written_right_after_a_killed_revert_stays(make_vm: MakeVm, planted: Planted) -> None:
    """The VM ran, so that the revert itself had just written to its disks as it stopped it."""
    vm = killed_revert(make_vm, planted, "revert.Revert, '_define'", start=True)
    overlay = vm.active_file("vda")
    vm.start()
    vm.write("vda", 77)
    vm.off()
    entry = well(vm.take("s2"))
    assert vm.reads(overlay, 77), entry["msg"]
    assert (vm.state, vm.disk_reads("vda", 77)) == ("shut off", True)


def test_a_revert_that_nobody_disturbed_is_finished(make_vm: MakeVm, planted: Planted) -> None:
    vm = killed_revert(make_vm, planted, "revert.Revert, '_define'", start=True)
    entry = well(vm.take("s2"))
    assert "Finished the interrupted revert" in entry["msg"]
    assert (vm.state, vm.disk_reads("vda", 1)) == ("running", True)


@pytest.mark.parametrize("step", ["merge_layers, 'commit_image'", "vm_handle.VmHandle, 'define'"])
def test_a_new_snapshot_of_the_name_of_a_killed_removal_stays(make_vm: MakeVm, planted: Planted, step: str) -> None:
    vm = filled(make_vm("fkweb", "vda", directory=HOME))
    assert planted.remove(f"before({step}, die)", vm.name, name="s1") == {"killed": True}
    if "s1" in vm.snapshots():
        vm.virsh("snapshot-delete", "s1", "--metadata")
    vm.host.run("sleep 1.1")
    spec = f"vda,snapshot=external,file={HOME}/fkweb.mine"
    vm.virsh("snapshot-create-as", "s1", "--disk-only", "--diskspec", spec)
    vm.write("vda", 77)
    entry = well(vm.take("s2"))
    assert vm.snapshots() == ["s1", "s2"], entry["msg"]
    assert vm.disk_reads("vda", 77)
    well(vm.revert("s1"))
    assert vm.disk_reads("vda", 42)


@pytest.mark.parametrize("start", [False, True], ids=["off", "running"])
def test_a_frozen_image_that_has_another_name_is_not_written_to(make_vm: MakeVm, start: bool) -> None:
    """A backup of hard links (cp -al) takes a frozen image for one that changes no more."""
    vm = filled(make_vm("fkweb", "vda", directory=HOME, start=start))
    vm.host.run(f"mkdir -p {HOME}/backup && ln {HOME}/fkweb.qcow2 {HOME}/backup/fkweb.qcow2")
    entry = well(agreed(vm.remove, "s1")[1])
    assert vm.reads(f"{HOME}/backup/fkweb.qcow2", 1), entry["msg"]
    assert names(entry["notes"], f"{HOME}/fkweb.qcow2", "hard link")
    assert vm.disk_reads("vda", 42)


def test_a_note_says_of_no_file_that_goes_that_it_is_kept(make_vm: MakeVm) -> None:
    vm = filled(make_vm("fkweb", "vda", "vdb", directory=HOME), "vda", "vdb")
    overlay = vm.active_file("vdb")
    vm.virsh("detach-disk", "vdb", "--config")
    for entry in agreed(vm.prune, keep_last=0, detached=True):
        assert overlay in entry["orphans_removed"]
        assert not names(entry["notes"], overlay, "is kept")
        assert "is kept" not in entry["msg"]
