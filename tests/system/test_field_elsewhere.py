# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images that somebody uses who is no process of this host, and what is opened while a removal goes on."""

from __future__ import annotations

from functools import partial

import pytest

from .elsewhere import AWAY, away, locked_elsewhere, make_vm
from .field import MakeVm, agreed
from .guest import wait_for
from .odd_disks import refused
from .other_users import filled, names, well
from .planted import planted

__all__ = ("make_vm", "planted")

pytestmark = pytest.mark.usefixtures(away.__name__)


@pytest.mark.parametrize("layer", ["the overlay", "the image under it"])
def test_a_layer_that_another_host_reads_is_refused_before_anything(make_vm: MakeVm, layer: str) -> None:
    vm = filled(make_vm("feweb", "vda", directory=AWAY))
    file = vm.active_file("vda") if layer == "the overlay" else f"{AWAY}/feweb.qcow2"
    with locked_elsewhere(vm.host, file):
        entry = refused(vm, "file_in_use", vm.remove, "s1")
        assert file in entry["msg"]
        assert "another host" in entry["msg"]
    well(agreed(vm.remove, "s1")[1])
    assert (vm.disk_reads("vda", 42), vm.files()) == (True, {f"{AWAY}/feweb.qcow2"})


def test_an_image_that_another_host_reads_is_not_merged_into_by_a_running_vm(make_vm: MakeVm) -> None:
    """Check mode knows as much where this host lets one look through QEMU's own descriptors: no container of systemd's does."""
    vm = filled(make_vm("feweb", "vda", directory=AWAY, start=True))
    before = (vm.xml(), vm.xml(inactive=True), vm.snapshots(), vm.files())
    with locked_elsewhere(vm.host, f"{AWAY}/feweb.qcow2"):
        entry = vm.remove("s1")
        assert (entry["error_code"], entry["changed"]) == ("file_in_use", False), entry["msg"]
        assert names([entry["msg"]], f"{AWAY}/feweb.qcow2", "another host")
    assert (vm.xml(), vm.xml(inactive=True), vm.snapshots(), vm.files()) == before
    assert vm.info()["operation"] is None
    well(agreed(vm.remove, "s1")[1])
    assert (vm.disk_reads("vda", 42), vm.files()) == (True, {f"{AWAY}/feweb.qcow2"})


def test_a_vm_that_runs_on_another_host_is_not_off(make_vm: MakeVm) -> None:
    """Defined here too since it was migrated, or to take over where the other host dies: its disks are written to."""
    vm = filled(make_vm("feweb", "vda", directory=AWAY))
    with locked_elsewhere(vm.host, vm.active_file("vda"), writing=True):
        for action in (partial(vm.take, "s2"), partial(vm.revert, "s1"), partial(vm.remove, "s1")):
            entry = refused(vm, "file_in_use", action)
            assert "another host" in entry["msg"]
    well(agreed(vm.take, "s2")[1])


def test_what_another_host_only_reads_may_be_frozen(make_vm: MakeVm) -> None:
    vm = make_vm("feweb", "vda", directory=AWAY)
    with locked_elsewhere(vm.host, f"{AWAY}/feweb.qcow2"):
        well(agreed(vm.take, "s1")[1])


@pytest.mark.parametrize(("start", "how"), [(False, "a copy"), (False, "QEMU"), (True, "QEMU")])
def test_a_layer_that_is_opened_while_another_is_merged_stays(make_vm: MakeVm, start: bool, how: str) -> None:
    """Who reads what a snapshot held is to go on reading that."""
    vm = filled(make_vm("feweb", "vda", "vdb", directory=AWAY, start=start), "vda", "vdb")
    first, second = f"{AWAY}/feweb-vdb.qcow2", f"{AWAY}/feweb.qcow2"  # in this order
    command = (
        f"exec sleep 120 < {second}" if how == "a copy" else f"exec qemu-nbd -r -t -k {AWAY}/nbd -f qcow2 {second}"
    )
    waited = "pass" if how == "a copy" else f"while not os.path.exists('{AWAY}/nbd'): time.sleep(0.05)"
    fault = f"""
opened = []
def open_it():
    if not opened:
        opened.append(subprocess.Popen([{command!r}], shell=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True))
        {waited}
        open('{AWAY}/pid', 'w').write(str(opened[0].pid))
before(merge_layers, '_flush_merged', open_it)"""
    entry = vm.planted.remove(fault, vm.name, name="s1")["vms"][0]
    pid = vm.host.run(["cat", f"{AWAY}/pid"]).stdout
    vm.host.run(["kill", pid])
    wait_for("its end", lambda: vm.host.run(["kill", "-0", pid], check=False).returncode != 0)
    assert vm.reads(second, 1), entry["msg"]
    assert entry["error_code"] is None, entry["msg"]
    assert names(entry["notes"], second, "stays a layer of its own", "open"), entry["notes"]
    assert (vm.disk_reads("vda", 42), vm.disk_reads("vdb", 42)) == (True, True)
    assert vm.reads(first, 42)
    vm.sound()
    well(agreed(vm.take, "s2")[1])
    well(agreed(vm.remove, "s2")[1])
    assert vm.files() == {first, second}, "what stayed is merged with the next removal"
