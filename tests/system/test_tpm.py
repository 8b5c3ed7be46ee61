# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state of an emulated TPM is part of a snapshot: judged by a number in its own memory, and by the bytes of its file."""

from __future__ import annotations

import pytest

from .field import MakeVm, agreed, make_vm
from .other_users import well
from .planted import only, planted
from .tpm_vm import COPY, HOME, TpmVm, home, slow, snapshot

__all__ = ("home", "make_vm", "planted")

STAYS = "the state of the TPM stays as it is now"


@pytest.mark.parametrize("running", [pytest.param(False, marks=slow), True])
def test_the_state_of_a_tpm_comes_back_with_a_revert(make_vm: MakeVm, running: bool) -> None:
    tpm = TpmVm(make_vm, start=running)
    vm = tpm.vm
    tpm.write(7)
    entry = well(agreed(vm.take, "s1")[1])
    assert (entry["snapshot"]["tpm"], entry["snapshot"]["left_out"]) == (COPY, [])
    assert (tpm.access(COPY), tpm.number(COPY)) == ("600 root", 7)
    assert vm.state == ("running" if running else "shut off")
    tpm.write(9)
    vm.write("vda", 2)
    assert tpm.number() == 9
    assert (snapshot(vm, "s1")["tpm"], snapshot(vm, "s1")["past"], snapshot(vm, "s1")["left_out"]) == (
        COPY,
        "unchanged",
        [],
    )
    access = tpm.access()
    well(agreed(vm.revert, "s1")[1])
    assert (tpm.number(), vm.disk_reads("vda", 1), tpm.access()) == (7, True, access)
    assert vm.state == ("running" if running else "shut off")
    if not running:
        assert tpm.digest() == tpm.digest(COPY)
        vm.start()
    assert (tpm.copies(), tpm.lying_there()) == ({COPY}, ["tpm2-00.permall"])
    vm.sound()
    entry = well(agreed(vm.remove, "s1")[1])
    assert COPY in entry["files_removed"]
    assert (tpm.copies(), tpm.number()) == (set(), 7)
    vm.sound()


def test_a_state_that_the_tpm_would_resume_is_put_aside(make_vm: MakeVm) -> None:
    """Swtpm loads a volatile state wherever it lies, at any start, and it belongs to another permanent one."""
    tpm = TpmVm(make_vm, start=False)
    vm = tpm.vm
    tpm.take_and_change()
    tpm.host.run(f"cp {tpm.file} {tpm.directory}/tpm2-00.volatilestate")
    assert tpm.host.run(["virsh", "start", vm.name], check=False).returncode, "swtpm takes it for its own"
    well(agreed(vm.revert, "s1", power="running")[1])
    assert (tpm.number(), vm.disk_reads("vda", 1), vm.state) == (7, True, "running")
    assert tpm.lying_there() == ["tpm2-00.permall"]


@slow
def test_a_tpm_whose_state_is_gone_gets_it_back(make_vm: MakeVm) -> None:
    tpm = TpmVm(make_vm, start=True)
    vm = tpm.vm
    tpm.take_and_change()
    vm.off()
    access = tpm.access()
    tpm.host.run(f"rm {tpm.file}")
    well(agreed(vm.revert, "s1", power="running")[1])
    assert (tpm.number(), vm.disk_reads("vda", 1), vm.state) == (7, True, "running")
    assert tpm.access() == access, "libvirt gives swtpm's user what is there"


@slow
def test_a_vm_that_was_never_started_has_no_tpm_yet(make_vm: MakeVm) -> None:
    tpm = TpmVm(make_vm, start=False, made=False)
    vm = tpm.vm
    entry = well(agreed(vm.take, "s1")[1])
    reasons = {one["target"]: one["reason"] for one in entry["snapshot"]["left_out"]}
    assert (entry["snapshot"]["tpm"], f"{tpm.file} is not there" in reasons["tpm"]) == (None, True)
    assert any(note.startswith("tpm: ") for note in entry["notes"])
    vm.start()
    tpm.write(5)
    vm.write("vda", 2)
    entry = well(agreed(vm.revert, "s1")[1])
    assert any(STAYS in note for note in entry["notes"])
    assert (tpm.number(), vm.disk_reads("vda", 1), tpm.copies()) == (5, True, set())


@slow
def test_each_branch_has_a_tpm_of_its_own(make_vm: MakeVm) -> None:
    tpm = TpmVm(make_vm, start=True)
    vm = tpm.vm
    for name, number in (("s1", 7), ("s2", 9)):
        tpm.write(number)
        well(vm.take(name))
    well(vm.revert("s1"))
    assert tpm.number() == 7
    tpm.write(11)
    well(vm.take("s3"))
    tpm.write(13)
    for name, number in (("s2", 9), ("s3", 11), ("s1", 7)):
        well(agreed(vm.revert, name)[1])
        assert tpm.number() == number, name
    well(vm.remove("s1"))
    well(vm.revert("s3"))
    assert tpm.number() == 11
    assert tpm.copies() == {COPY.replace(".s1.", f".{name}.") for name in ("s2", "s3")}
    vm.sound()


@slow
def test_memory_brings_a_tpm_of_its_own(make_vm: MakeVm) -> None:
    tpm = TpmVm(make_vm, start=True)
    vm = tpm.vm
    tpm.write(7)
    entry = well(agreed(vm.take, "s1", include_memory=True)[1])
    assert (entry["snapshot"]["tpm"], entry["snapshot"]["left_out"], tpm.copies()) == (None, [], set())
    assert snapshot(vm, "s1")["left_out"] == []
    tpm.write(9)
    well(agreed(vm.revert, "s1")[1])
    assert tpm.number() == 7, "QEMU gives it to swtpm as it loads the memory"
    tpm.write(9)
    entry = well(agreed(vm.revert, "s1", power="shutoff")[1])
    assert any(STAYS in note for note in entry["notes"])
    assert tpm.number() == 9


SPOIL = f"""
spoilt = "for f in {HOME}/tpm1.vda.s1-*.qcow2; do echo no > $f; done"
before(revert, 'start', lambda: subprocess.run(spoilt, shell=True))
"""


@slow
def test_a_start_that_fails_brings_the_tpm_back(make_vm: MakeVm) -> None:
    tpm = TpmVm(make_vm, start=True)
    vm = tpm.vm
    tpm.take_and_change()
    access = tpm.access()
    entry = only(vm.planted.revert(SPOIL, vm.name, "s1"))
    assert entry["error_code"] == "start_failed", entry["msg"]
    assert (tpm.number(), vm.disk_reads("vda", 2), vm.state) == (9, True, "running")
    assert (tpm.copies(), tpm.access(), tpm.lying_there()) == ({COPY}, access, ["tpm2-00.permall"])
    well(agreed(vm.revert, "s1")[1])
    assert (tpm.number(), vm.disk_reads("vda", 1)) == (7, True)
    vm.sound()


@slow
def test_a_swtpm_that_somebody_else_runs_keeps_its_state(make_vm: MakeVm) -> None:
    """It would write its own state over the one that was put back. The VM is where it was, and the message names the cause."""
    tpm = TpmVm(make_vm, start=False)
    vm = tpm.vm
    tpm.take_and_change()
    where = (
        f"--tpmstate dir={tpm.directory} --ctrl type=unixio,path=/run/other --server type=unixio,path=/run/other.data"
    )
    tpm.host.run(f"swtpm socket --tpm2 {where} --flags not-need-init,startup-clear --daemon --pid file=/run/other.pid")
    try:
        entry = vm.revert("s1")
    finally:
        tpm.host.run("kill -9 $(cat /run/other.pid)")
    assert (entry["error_code"], "a swtpm process still has it" in entry["msg"]) == ("start_failed", True), entry
    assert (tpm.number(), vm.disk_reads("vda", 2)) == (9, True)
    well(agreed(vm.revert, "s1")[1])
    assert (tpm.number(), vm.disk_reads("vda", 1)) == (7, True)


@slow
def test_a_copy_that_others_changed_is_refused_and_never_put_back(make_vm: MakeVm) -> None:
    tpm = TpmVm(make_vm, start=True)
    vm = tpm.vm
    tpm.take_and_change()
    vm.host.run(f"cp -p {COPY} {COPY}.kept; rm {COPY}")
    entry = agreed(vm.revert, "s1")[1]
    assert (entry["error_code"], entry["changed"], COPY in entry["msg"]) == ("snapshot_changed", False, True)
    vm.host.run(f"cp {tpm.file} {COPY}")
    entry = agreed(vm.revert, "s1")[1]
    assert (entry["error_code"], entry["changed"]) == ("snapshot_changed", False), entry["msg"]
    entry = well(agreed(vm.revert, "s1", accept_changed=True)[1])
    assert any(STAYS in note for note in entry["notes"])
    assert (tpm.number(), vm.disk_reads("vda", 1)) == (9, True)
    vm.host.run(f"rm {COPY}; mv {COPY}.kept {COPY}")  # from a backup: another file, the same content
    assert snapshot(vm, "s1")["past"] == "unchanged"
    well(agreed(vm.revert, "s1")[1])
    assert tpm.number() == 7
    tpm.host.run(f"rm {COPY}; echo mine > {COPY}")
    entry = well(agreed(vm.remove, "s1")[1])
    assert any(COPY in note for note in entry["notes"])
    assert tpm.host.run(["cat", COPY]).stdout == "mine\n", "somebody else's file"
    vm.sound()


@slow
def test_a_copy_is_an_orphan_where_virsh_removed_its_snapshot(make_vm: MakeVm) -> None:
    tpm = TpmVm(make_vm, start=False)
    vm = tpm.vm
    well(vm.take("s1"))
    vm.sound()
    vm.virsh("snapshot-delete", "s1", "--metadata")
    assert vm.info()["orphans"] == [COPY]
    well(vm.take("s2"))
    well(vm.remove("s2"))
    assert vm.info()["orphans"] == [COPY], "an operation has not forgotten it"
    entry = well(vm.prune(keep_last=5, orphans=True))
    assert (entry["orphans_removed"], tpm.copies(), tpm.number()) == ([COPY], set(), 1)
