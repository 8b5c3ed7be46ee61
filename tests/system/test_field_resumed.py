# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What people do with a VM after a run was killed, and before the next one finishes or undoes what that left."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from .field import MakeVm, agreed, make_vm
from .field_vm import FieldVm
from .guest import wait_for
from .other_users import filled, well
from .planted import Planted, only, planted

__all__ = ("make_vm", "planted")

HOME = "/srv/fr"


@pytest.fixture(autouse=True)
def home(planted: Planted) -> Iterator[None]:
    planted.host.run(f"rm -rf {HOME}; mkdir -p {HOME}")
    yield
    planted.host.run(f"rm -rf {HOME}")


def killed_revert(make_vm: MakeVm, step: str, *, start: bool = False, memory: bool = False) -> FieldVm:
    """Return a VM that has 1 in snapshot s1 and wrote 42 since, and whose revert to that was killed before a step."""
    vm = make_vm("frweb", "vda", directory=HOME, start=start)
    vm.write("vda", 1)
    well(vm.take("s1", include_memory=memory))
    vm.write("vda", 42)
    assert vm.planted.revert(f"before({step}, die)", vm.name, "s1") == {"killed": True}
    return vm


def job(vm: FieldVm, target: str) -> str:
    said = vm.host.run(f"virsh blockjob {vm.name} {target} 2>&1", check=False).stdout.strip()
    return "" if "No current" in said else said


def test_memory_that_was_not_loaded_is_loaded_by_the_next_run(make_vm: MakeVm) -> None:
    """Somebody has started the VM on the snapshot's disks, where it booted: that is no revert to its memory."""
    vm = killed_revert(make_vm, "revert, 'start'", start=True, memory=True)
    vm.start()
    entry = vm.revert("s1")
    assert entry["error_code"] is None, entry["msg"]
    assert "The VM ran by then" in entry["recovered"]
    assert "restored" in vm.host.run(["virsh", "domstate", vm.name, "--reason"]).stdout
    assert vm.disk_reads("vda", 1)
    vm.sound()


def test_what_a_vm_that_was_not_stopped_yet_wrote_stays(make_vm: MakeVm) -> None:
    vm = killed_revert(make_vm, "revert, 'stop'", start=True)
    vm.write("vda", 77)
    vm.off()
    entry = well(vm.take("s2"))
    assert entry["recovered"].startswith("Undid"), entry["msg"]
    assert vm.disk_reads("vda", 77), entry["msg"]


def test_an_image_that_was_restored_with_its_old_time_stays(make_vm: MakeVm) -> None:
    vm = killed_revert(make_vm, "revert, 'stop'")
    top, backup = vm.active_file("vda"), f"{HOME}/backup.qcow2"
    vm.host.run(f"cp -p {top} {backup}; qemu-io -f qcow2 -c 'write -P 88 0 64k' {backup}; touch -d 2020-01-01 {backup}")
    vm.host.run(f"cp -p {backup} {top}")
    entry = well(vm.take("s2"))
    assert vm.disk_reads("vda", 88), entry["msg"]


def test_an_older_definition_that_was_used_since_stays(make_vm: MakeVm) -> None:
    vm = killed_revert(make_vm, "revert, 'carry_out'")
    vm.redefine(vm.active_file("vda"), f"{HOME}/frweb.vda.s1.qcow2")
    vm.start()
    vm.write("vda", 77)
    vm.off()
    entry = well(vm.take("s2"))
    assert "stays as it is" in entry["recovered"], entry["msg"]
    assert vm.disk_reads("vda", 77), entry["msg"]


@pytest.mark.parametrize("memory", [False, True])
@pytest.mark.parametrize("again", [False, True], ids=["shut off", "used again"])
def test_a_vm_that_somebody_shut_off_after_its_revert_stays_off(make_vm: MakeVm, memory: bool, again: bool) -> None:
    vm = killed_revert(make_vm, "revert, 'carry_out'", start=True, memory=memory)
    vm.write("vda", 77)
    vm.off()
    if again:
        vm.start()
        vm.write("vda", 78)
        vm.off()
    entry = well(vm.take("s2"))
    assert (vm.state, vm.disk_reads("vda", 78 if again else 77)) == ("shut off", True), entry["msg"]


def test_the_same_revert_again_starts_a_vm_that_was_shut_off_since(make_vm: MakeVm) -> None:
    vm = killed_revert(make_vm, "revert, 'carry_out'", start=True)
    vm.write("vda", 77)
    vm.off()
    well(vm.revert("s1", power="running"))
    assert (vm.state, vm.disk_reads("vda", 1)) == ("running", True)
    vm.sound()


@pytest.mark.parametrize("step", ["revert.Revert, '_define'", "revert, 'stop'"])
@pytest.mark.parametrize("task", ["take", "revert"])
def test_memory_that_was_saved_after_a_killed_revert_keeps_its_disks(make_vm: MakeVm, step: str, task: str) -> None:
    vm = killed_revert(make_vm, step, start=True)
    if vm.state != "running":
        vm.start()
    on = vm.active_file("vda")
    vm.virsh("managedsave")
    entry = agreed(vm.take, "s2")[1] if task == "take" else agreed(vm.revert, "s1")[1]
    assert (entry["error_code"], entry["changed"]) == ("managed_save", False), entry["msg"]
    assert "Start the VM first" in entry["msg"]
    vm.start()
    assert (vm.active_file("vda"), vm.disk_reads("vda", 42)) == (on, True)
    well(vm.take("s2") if task == "take" else vm.revert("s1"))
    assert vm.disk_reads("vda", 42 if task == "take" else 1)
    vm.sound()


@pytest.mark.parametrize("step", ["merge_layers, 'commit_image'", "vm_handle.VmHandle, 'define'"])
def test_memory_that_was_saved_after_a_killed_removal_keeps_its_disks(make_vm: MakeVm, step: str) -> None:
    vm = filled(make_vm("frweb", "vda", directory=HOME))
    assert vm.planted.remove(f"before({step}, die)", vm.name, name="s1") == {"killed": True}
    vm.start()
    vm.virsh("managedsave")
    entry = agreed(vm.take, "s2")[1]
    assert (entry["error_code"], entry["files_removed"]) == ("managed_save", []), entry["msg"]
    vm.start()
    well(vm.take("s2"))
    assert vm.disk_reads("vda", 42)
    vm.sound()


@pytest.mark.parametrize("step", ["remove, 'carry_out'", "merge_layers, 'commit_block'"])
def test_a_copy_of_somebodys_that_runs_is_not_ended_by_a_resumed_removal(make_vm: MakeVm, step: str) -> None:
    vm = filled(make_vm("frweb", "vda", "vdb", directory=HOME, start=True), "vda", "vdb")
    assert vm.planted.remove(f"before({step}, die)", vm.name, name="s1") == {"killed": True}
    copy = f"{HOME}/frweb-copy.qcow2"
    vm.virsh("blockcopy", "vdb", copy, "--transient-job", "--format", "qcow2")
    wait_for("the copy", lambda: "100" in job(vm, "vdb"))
    entry = agreed(vm.take, "s2")[1]
    assert (entry["error_code"], bool(job(vm, "vdb"))) == ("block_job_active", True), entry["msg"]
    assert "--abort" in entry["msg"]
    vm.virsh("blockjob", "vdb", "--abort")
    wait_for("the end of the copy", lambda: not job(vm, "vdb"))
    well(vm.take("s2"))
    assert vm.disk_reads("vdb", 42)


def test_a_merge_of_somebodys_that_is_ready_is_not_ended_by_a_resumed_removal(make_vm: MakeVm) -> None:
    vm = filled(make_vm("frweb", "vda", "vdb", directory=HOME, start=True), "vda", "vdb")
    assert vm.planted.remove("before(remove, 'carry_out', die)", vm.name, name="s1") == {"killed": True}
    vm.virsh("blockcommit", "vdb", "--active", "--shallow")
    wait_for("the merge", lambda: "100" in job(vm, "vdb"))
    entry = agreed(vm.take, "s2")[1]
    assert (entry["error_code"], bool(job(vm, "vdb"))) == ("block_job_active", True), entry["msg"]
    assert "--pivot" in entry["msg"]
    vm.virsh("blockjob", "vdb", "--abort")
    well(vm.take("s2"))
    assert vm.disk_reads("vdb", 42)


def reading(vm: FieldVm, file: str) -> str:
    """Have a process read a file, as a backup does; return its number."""
    return vm.host.run(f"(exec 9<{file}; exec sleep 300) </dev/null >/dev/null 2>&1 & echo $!").stdout.strip()


def test_what_a_killed_take_has_left_is_not_deleted_while_it_is_read(make_vm: MakeVm) -> None:
    vm = filled(make_vm("frweb", "vda", directory=HOME))
    fault = "before(take_steps.Taking, '_switch', die)"
    assert vm.planted.snapshot(fault, vm.name, "s2", quiesce="never") == {"killed": True}
    pid = reading(vm, f"{HOME}/frweb.vda.s2.qcow2")
    try:
        assert agreed(vm.take, "s3")[1]["error_code"] == "file_in_use"
    finally:
        vm.host.run(f"kill {pid}")
    well(vm.take("s3"))
    vm.sound()


def test_a_resumed_removal_waits_for_who_reads_the_image(make_vm: MakeVm) -> None:
    vm = filled(make_vm("frweb", "vda", directory=HOME))
    assert vm.planted.remove("before(merge_layers, 'commit_image', die)", vm.name, name="s1") == {"killed": True}
    base = f"{HOME}/frweb.qcow2"
    pid = reading(vm, base)
    try:
        entry = agreed(vm.remove, "s1")[1]
        assert entry["error_code"] == "file_in_use", entry["msg"]
        assert vm.reads(base, 1), "who reads it as a backup gets a mixture"
    finally:
        vm.host.run(f"kill {pid}")
    well(vm.remove("s1"))
    assert vm.reads(base, 42)


def test_a_merge_that_is_taken_over_keeps_its_bandwidth_on_the_next_disk(make_vm: MakeVm) -> None:
    vm = make_vm("frweb", "vda", "vdb", directory=HOME, start=True)
    well(vm.take("s1"))
    for target in ("vda", "vdb"):
        vm.write(target, 5, "12M")
    assert vm.remove("s1", bandwidth=2, timeout=1)["merge"]
    began = time.monotonic()
    well(vm.remove("s1", timeout=100))
    assert time.monotonic() - began > 8  # 12 MiB and more at 2 MiB/s


def test_a_revert_that_does_not_start_names_the_snapshot_that_it_took_first(make_vm: MakeVm) -> None:
    vm = filled(make_vm("frweb", "vda", directory=HOME, start=True))
    nonsense = f"for f in {HOME}/frweb.vda.s1-*.qcow2; do echo no > $f; done"
    fault = f"before(revert, 'start', lambda: subprocess.run({nonsense!r}, shell=True))"
    entry = only(vm.planted.revert(fault, vm.name, "s1", keep_current=True))
    assert (entry["error_code"], entry["changed"]) == ("start_failed", True), entry["msg"]
    assert "Snapshot 'before-s1', which was taken first, stays" in entry["msg"]
    assert "No snapshot" not in entry["msg"]
