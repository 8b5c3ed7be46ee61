# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every block of guide_recover.rst as it stands there, on a real VM; and afterwards the collection goes on with it."""

from __future__ import annotations

import json

import pytest

from .field import MakeVm, make_vm, planted
from .field_vm import FieldVm
from .guide_blocks import examples

__all__ = ("make_vm", "planted")

VM = "byhand1"
SNAPSHOT = "pre-patch"
EXAMPLES = examples()


def run_example(name: str, vm: FieldVm) -> str:
    """Run a block in one shell with the names that the guide begins with, which are this VM's."""
    names = EXAMPLES["recover-names"].text.replace("VM=web01", f"VM={vm.name}", 1)
    assert f"VM={vm.name} DISK=vda SNAPSHOT={SNAPSHOT}\n" in names
    return vm.host.run(f"set -e\n{names}\n{EXAMPLES[name].text}").stdout


@pytest.fixture
def vm(make_vm: MakeVm) -> FieldVm:
    """A VM that runs, reads 1 at its snapshot and 2 now."""
    made: FieldVm = make_vm(VM, "vda", start=True)
    made.write("vda", 1)
    assert made.take(SNAPSHOT)["error_code"] is None
    made.write("vda", 2)
    return made


def test_what_the_guide_says_is_there_is_there(vm: FieldVm) -> None:
    assert run_example("recover-names", vm) == ""
    assert "nobody is at work on byhand1" in run_example("recover-lock", vm)
    record = f"/var/lib/limiquantix-kvm/{vm.uuid}"
    held = f"flock --exclusive {record}.lock sleep 60 & until ! flock -n -s {record}.lock true; do sleep 0.1; done"
    vm.host.run(f"({held}) >/dev/null 2>&1")
    try:
        assert "a run is at work on byhand1" in run_example("recover-lock", vm)
    finally:
        vm.host.run(f"fuser -k {record}.lock", check=False)
    said = run_example("recover-look", vm)
    for told in ("running", SNAPSHOT, f"{vm.directory}/{VM}.vda.{SNAPSHOT}.qcow2", f"{vm.directory}/{VM}.qcow2 qcow2"):
        assert told in said, said
    assert '"journal": null' in said
    for path in (
        f"/var/lib/libvirt/images/{VM}.vda.{SNAPSHOT}.qcow2",
        f"/var/lib/libvirt/qemu/snapshot/{VM}/{SNAPSHOT}.xml",
        f"/etc/libvirt/qemu/{VM}.xml",
        f"{record}.json",
    ):
        assert vm.exists(path), path
    copy = f"/var/tmp/{VM}.vda.{SNAPSHOT}.qcow2"
    try:
        run_example("recover-copy", vm)
        assert vm.reads(copy, 1)
        assert "backing file" not in vm.host.run(f"qemu-img info {copy}").stdout
    finally:
        vm.host.run(f"rm -f {copy}")


def test_a_vm_goes_back_by_hand_and_the_collection_goes_on(vm: FieldVm) -> None:
    left = vm.active_file("vda")
    try:
        with pytest.raises(AssertionError, match="byhand1 runs"):
            run_example("recover-revert", vm)
        vm.off()
        run_example("recover-revert", vm)
        assert vm.active_file("vda") == f"{vm.directory}/{VM}.vda.by-hand.qcow2"
        vm.start()
        assert vm.disk_reads("vda", 1)
        assert vm.reads(left, 2)  # what was written since is still there
        kept = vm.info()["kept"]
        assert any(left in str(one) for one in kept), kept
        assert vm.take("later")["error_code"] is None
        assert vm.remove("later")["error_code"] is None
        removed = vm.remove(SNAPSHOT)
        assert (removed["error_code"], left in str(removed["kept"])) == (None, True), removed
        assert vm.disk_reads("vda", 1)
        assert vm.reads(left, 2)
        vm.off()
        vm.host.run(f"virsh define /var/tmp/{VM}.before.xml")
        assert vm.disk_reads("vda", 2)
    finally:
        vm.host.run(f"rm -f /var/tmp/{VM}.before.xml /var/tmp/{VM}.after.xml")


@pytest.mark.parametrize("running", [True, False], ids=["running", "off"])
def test_the_newest_snapshot_is_removed_by_hand(vm: FieldVm, running: bool) -> None:
    overlay = vm.active_file("vda")
    if running:
        run_example("recover-merge", vm)
    else:
        vm.off()
        run_example("recover-merge-off", vm)
    assert vm.state == ("running" if running else "shut off")
    assert (vm.snapshots(), vm.exists(overlay)) == ([], False)
    assert vm.active_file("vda") == f"{vm.directory}/{VM}.qcow2"
    assert vm.disk_reads("vda", 2)
    vm.sound()
    assert vm.take("next")["error_code"] is None


def test_an_interrupted_run_shows_in_the_journal(vm: FieldVm) -> None:
    """As a run leaves it that was killed before its first step; the next task undoes it."""
    path = f"/var/lib/limiquantix-kvm/{vm.uuid}.json"
    record = json.loads(vm.host.run(f"cat {path}").stdout)
    record["journal"] = {"kind": "take", "snapshot": "killed", "files": [f"{vm.directory}/{VM}.vda.killed.qcow2"]}
    vm.host.run(f"cat >{path}", stdin=json.dumps(record))
    assert '"kind": "take"' in run_example("recover-look", vm)
    assert vm.take("next")["recovered"]
    assert '"journal": null' in run_example("recover-look", vm)
