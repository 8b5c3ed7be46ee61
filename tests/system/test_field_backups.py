# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Incremental backups by libvirt's checkpoints go on over snapshots that are taken and removed: each has all that was written."""

from __future__ import annotations

import pytest

from .field import MakeVm, make_vm
from .field_vm import FieldVm
from .guest import wait_for
from .other_users import HOME, home, well
from .planted import Planted, planted

__all__ = ("home", "make_vm", "planted")

_BACKUP = """<domainbackup>{since}<disks><disk name='vda' backup='yes' type='file'><driver type='qcow2'/>
<target file='{file}'/></disk></disks></domainbackup>"""
KIB = 1024


@pytest.fixture
def vm(make_vm: MakeVm, planted: Planted) -> FieldVm:
    """A VM that runs, with all of it in a backup at checkpoint c0."""
    if planted.host.name == "hv-bullseye":
        pytest.skip("libvirt 7.0 has no incremental backups")
    vm = make_vm("fubackup", "vda", directory=HOME, start=True)
    vm.write("vda", 1, "512k")
    backed_up(vm, "c0")
    return vm


def backed_up(vm: FieldVm, checkpoint: str, since: str = "") -> str:
    """Back it up as of a new checkpoint, with what was written since another one; return the file."""
    file = f"{vm.directory}/{vm.name}-backup-{checkpoint}.qcow2"
    vm.host.put("/run/backup.xml", _BACKUP.format(since=f"<incremental>{since}</incremental>" * bool(since), file=file))
    vm.host.put("/run/checkpoint.xml", f"<domaincheckpoint><name>{checkpoint}</name></domaincheckpoint>")
    vm.virsh("backup-begin", "--backupxml", "/run/backup.xml", "--checkpointxml", "/run/checkpoint.xml")
    wait_for("the end of the backup", lambda: "None" in vm.virsh("domjobinfo").split("\n", 1)[0], 30)
    assert "Completed" in vm.virsh("domjobinfo", "--completed")
    vm.host.run(["qemu-img", "rebase", "-u", "-f", "qcow2", "-b", "", file])  # libvirt bases it on the disk
    return file


def has(vm: FieldVm, file: str, pattern: int, start: int, end: int) -> bool:
    """Whether a backup has the pattern from one place to another, in KiB."""
    read = f"read -P {pattern} {start}k {end - start}k"
    said = vm.host.run(["qemu-io", "-r", "-f", "qcow2", "-c", read, file]).stdout
    assert "ops/sec" in said, said
    return "Pattern verification failed" not in said


def data_ends(vm: FieldVm, file: str) -> int:
    """Return where the data ends that a backup has of its own, in KiB."""
    said = vm.host.run(f"qemu-img map --output=json -f qcow2 {file} | tr '{{' '\\n' | grep '\"data\": true'").stdout
    return (
        max(
            int(line.split('"start": ')[1].split(",")[0]) + int(line.split('"length": ')[1].split(",")[0])
            for line in said.splitlines()
        )
        // KIB
    )


@pytest.mark.parametrize("removed", [["s1"], ["s2"], ["s2", "s1"]], ids=["middle", "newest", "both at once"])
def test_an_incremental_backup_after_taking_and_removing_has_all(vm: FieldVm, removed: list[str]) -> None:
    vm.write("vda", 2, "192k")
    well(vm.take("s1"))
    vm.write("vda", 3, "64k")
    increment = backed_up(vm, "c1", since="c0")
    assert (has(vm, increment, 3, 0, 64), has(vm, increment, 2, 64, 192), data_ends(vm, increment)) == (True, True, 192)
    vm.write("vda", 4, "256k")
    well(vm.take("s2"))
    vm.write("vda", 5, "128k")
    done = well(vm.prune(names=removed))
    assert sorted(done["removed"]) == sorted(removed)
    vm.write("vda", 6, "64k")
    increment = backed_up(vm, "c2", since="c1")
    assert [has(vm, increment, *part) for part in ((6, 0, 64), (5, 64, 128), (4, 128, 256))] == [True] * 3
    assert data_ends(vm, increment) == 256
    assert vm.disk_reads("vda", 6)
    assert vm.info()["operation"] is None


def test_after_a_revert_the_next_backup_has_to_be_full_and_is_told_so(vm: FieldVm) -> None:
    well(vm.take("s1"))
    vm.write("vda", 2)
    for check in (True, False):
        told = well(vm.revert("s1", check=check))
        assert any("c0" in note and "make a full one" in note for note in told["notes"]), told
    with pytest.raises(AssertionError, match="bitmap"):
        backed_up(vm, "c1", since="c0")
    vm.virsh("checkpoint-delete", "c0", "--metadata")
    whole = backed_up(vm, "c2")
    assert has(vm, whole, 1, 0, 512)
