# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""UEFI variables are part of a snapshot: judged by the bytes of the file that QEMU has as its second flash."""

from __future__ import annotations

import pytest

from .field import MakeVm, agreed, make_vm
from .other_users import well
from .planted import Planted, only, planted
from .uefi_vm import BOOT, COPY, FILE, HOME, SIZE, UefiVm, home, slow, snapshot

__all__ = ("home", "make_vm", "planted")


@pytest.mark.parametrize("running", [pytest.param(False, marks=slow), True])
def test_variables_come_back_with_a_revert(make_vm: MakeVm, running: bool) -> None:
    uefi = UefiVm(make_vm, start=running)
    vm = uefi.vm
    uefi.write(7)
    entry = well(agreed(vm.take, "s1")[1])
    assert entry["snapshot"]["nvram"] == COPY
    assert "nvram" not in [one["target"] for one in entry["snapshot"]["left_out"]]
    assert (uefi.access(COPY), uefi.holds(7, COPY)) == ("600 root", True)
    assert vm.state == ("running" if running else "shut off")
    uefi.write(9)
    vm.write("vda", 2)
    assert uefi.holds(9)
    assert (snapshot(vm, "s1")["nvram"], snapshot(vm, "s1")["past"]) == (COPY, "unchanged")
    access = uefi.access(FILE)
    well(agreed(vm.revert, "s1")[1])
    assert uefi.holds(7)
    assert vm.disk_reads("vda", 1)
    assert uefi.access(FILE) == access
    assert uefi.copies() == {COPY}
    assert vm.state == ("running" if running else "shut off")
    vm.sound()
    entry = well(agreed(vm.remove, "s1")[1])
    assert COPY in entry["files_removed"]
    assert uefi.copies() == set()
    assert uefi.holds(7)
    vm.sound()


@slow
def test_a_vm_that_was_never_started_has_nothing_to_copy(make_vm: MakeVm) -> None:
    """Libvirt makes the file at the VM's first start; a snapshot before that has no variables."""
    uefi = UefiVm(make_vm, start=False, made=False)
    vm = uefi.vm
    entry = well(agreed(vm.take, "s1")[1])
    assert entry["snapshot"]["nvram"] is None
    reasons = {one["target"]: one["reason"] for one in entry["snapshot"]["left_out"]}
    assert FILE in reasons["nvram"]
    assert any(note.startswith("nvram: ") for note in entry["notes"])
    uefi.fill(FILE, 1)
    vm.write("vda", 2)
    entry = well(agreed(vm.revert, "s1")[1])
    assert any("the UEFI variables stay as they are now" in note for note in entry["notes"])
    assert (uefi.holds(1), vm.disk_reads("vda", 1), uefi.copies()) == (True, True, set())


@slow
def test_a_copy_that_nobody_may_delete_is_seen_before_anything(make_vm: MakeVm) -> None:
    uefi = UefiVm(make_vm, start=False)
    vm = uefi.vm
    well(vm.take("s1"))
    vm.host.run(["chattr", "+i", COPY])
    try:
        entry = agreed(vm.remove, "s1")[1]
    finally:
        vm.host.run(["chattr", "-i", COPY])
    assert (entry["error_code"], entry["changed"], vm.snapshots()) == ("file_read_only", False, ["s1"]), entry["msg"]
    assert COPY in well(agreed(vm.remove, "s1")[1])["files_removed"]


@slow
def test_each_branch_has_variables_of_its_own(make_vm: MakeVm) -> None:
    uefi = UefiVm(make_vm, start=True)
    vm = uefi.vm
    for name, byte in (("s1", 7), ("s2", 9)):
        uefi.write(byte)
        well(vm.take(name))
    well(vm.revert("s1"))
    assert uefi.holds(7)
    uefi.write(11)
    well(vm.take("s3"))
    uefi.write(13)
    for name, byte in (("s2", 9), ("s3", 11), ("s1", 7)):
        well(agreed(vm.revert, name)[1])
        assert uefi.holds(byte), name
    well(vm.remove("s1"))
    well(vm.revert("s3"))
    assert uefi.holds(11)
    assert uefi.copies() == {COPY.replace(".s1.", f".{name}.") for name in ("s2", "s3")}
    vm.sound()


@slow
def test_memory_brings_variables_of_its_own(make_vm: MakeVm) -> None:
    uefi = UefiVm(make_vm, start=True)
    vm = uefi.vm
    uefi.write(7)
    entry = well(agreed(vm.take, "s1", include_memory=True)[1])
    assert (entry["snapshot"]["nvram"], entry["snapshot"]["left_out"], uefi.copies()) == (None, [], set())
    uefi.write(9)
    entry = well(agreed(vm.revert, "s1")[1])
    assert uefi.bytes() == [1, 1, SIZE], "what QEMU had in memory, where the monitor's write never came, is in the file"
    entry = well(agreed(vm.revert, "s1", power="shutoff")[1])
    assert any("the UEFI variables stay as they are now" in note for note in entry["notes"])


SPOIL = f"""
spoilt = "for f in {HOME}/uefi1.vda.s1-*.qcow2; do echo no > $f; done"
before(revert, 'start', lambda: subprocess.run(spoilt, shell=True))
"""


@slow
def test_a_start_that_fails_brings_the_variables_back(make_vm: MakeVm) -> None:
    uefi = UefiVm(make_vm, start=True)
    vm = uefi.vm
    uefi.take_and_change()
    access = uefi.access(FILE)
    entry = only(vm.planted.revert(SPOIL, vm.name, "s1"))
    assert entry["error_code"] == "start_failed", entry["msg"]
    assert (uefi.holds(9), vm.disk_reads("vda", 2), vm.state) == (True, True, "running")
    assert (uefi.copies(), uefi.access(FILE)) == ({COPY}, access)
    well(agreed(vm.revert, "s1")[1])
    assert (uefi.holds(7), vm.disk_reads("vda", 1)) == (True, True)
    vm.sound()


@slow
def test_a_copy_that_others_changed_is_refused_and_never_put_back(make_vm: MakeVm) -> None:
    uefi = UefiVm(make_vm, start=True)
    vm = uefi.vm
    uefi.take_and_change()
    vm.host.run(f"cp -p {COPY} {COPY}.kept; rm {COPY}")
    entry = agreed(vm.revert, "s1")[1]
    assert (entry["error_code"], entry["changed"]) == ("snapshot_changed", False), entry["msg"]
    assert COPY in entry["msg"]
    uefi.fill(COPY, 5)
    entry = agreed(vm.revert, "s1")[1]
    assert (entry["error_code"], entry["changed"]) == ("snapshot_changed", False), entry["msg"]
    entry = well(agreed(vm.revert, "s1", accept_changed=True)[1])
    assert any("the UEFI variables stay as they are now" in note for note in entry["notes"])
    assert (uefi.holds(9), vm.disk_reads("vda", 1)) == (True, True)
    vm.host.run(f"rm {COPY}; mv {COPY}.kept {COPY}")  # from a backup: another file, the same content
    assert snapshot(vm, "s1")["past"] == "unchanged"
    well(agreed(vm.revert, "s1")[1])
    assert uefi.holds(7)
    uefi.host.run(f"rm {COPY}")
    uefi.fill(COPY, 5)
    entry = well(agreed(vm.remove, "s1")[1])
    assert any(COPY in note for note in entry["notes"])
    assert uefi.bytes(COPY) == [5, 5, SIZE], "somebody else's file"
    vm.sound()


@slow
def test_a_copy_is_an_orphan_where_virsh_removed_its_snapshot(make_vm: MakeVm) -> None:
    uefi = UefiVm(make_vm, start=False)
    vm = uefi.vm
    well(vm.take("s1"))
    vm.sound()
    vm.virsh("snapshot-delete", "s1", "--metadata")
    assert vm.info()["orphans"] == [COPY]
    well(vm.take("s2"))
    well(vm.remove("s2"))
    assert vm.info()["orphans"] == [COPY], "an operation has not forgotten it"
    entry = well(vm.prune(keep_last=5, orphans=True))
    assert entry["orphans_removed"] == [COPY]
    assert (uefi.copies(), uefi.holds(1)) == (set(), True)


@slow
def test_variables_in_a_qcow2_image_are_copied_while_the_vm_is_off(make_vm: MakeVm, planted: Planted) -> None:
    """QEMU keeps a part of such an image to itself. Libvirt knows them since 9.10, and says nothing of one it does not know."""
    new = tuple(map(int, planted.host.libvirt_version.split(".")[:2])) >= (10, 0)
    boot = BOOT.replace("<nvram>", "<nvram format='qcow2'>") if new else BOOT
    uefi = UefiVm(make_vm, start=False, boot=boot)
    vm = uefi.vm
    raw = f"{HOME}/uefi1.raw"
    vm.host.run(f"mv {FILE} {raw}; qemu-img convert -f raw -O qcow2 {raw} {FILE}; rm {raw}")
    well(agreed(vm.take, "s1")[1])
    digest = vm.host.run(["sha256sum", COPY]).stdout.split()[0]
    vm.host.run(["qemu-io", "-f", "qcow2", "-c", "write -P 9 0 4k", FILE])
    vm.write("vda", 2)
    well(agreed(vm.revert, "s1")[1])
    assert vm.host.run(["sha256sum", FILE]).stdout.split()[0] == digest
    if not new:
        return
    vm.start()
    entry = well(agreed(vm.take, "s2")[1])
    assert (entry["snapshot"]["nvram"], vm.state) == (None, "running")
    assert any("qcow2" in one["reason"] for one in entry["snapshot"]["left_out"] if one["target"] == "nvram")
