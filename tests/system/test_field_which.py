# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which VMs and snapshots a task means while others change them: F31, and more of its kind."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from .field import MakeVm, make_vm, planted
from .planted import Planted, only

__all__ = ("make_vm", "planted")

# Once, when a list of snapshots was made and before anybody looks at what is in it, another run removes one.
MEANWHILE = """
import libvirt, subprocess, sys
listed = libvirt.virDomain.listAllSnapshots
def and_one_goes(self, flags=0):
    found = listed(self, flags)
    libvirt.virDomain.listAllSnapshots = listed
    code = "import driver; driver.remove({where!r}, [{vm!r}], False, {{}}, name={name!r})"
    subprocess.run([sys.executable, "-c", code], check=True)
    return found
libvirt.virDomain.listAllSnapshots = and_one_goes
"""
WHERE = {"backend": "libvirt", "uri": "qemu:///system"}
# Once, right before a VM is looked at, it is changed by others.
JUST_BEFORE = """
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt import hypervisor as _backend
looked = _backend.LibvirtHypervisor.inspect
def changed(self, domain):
    _backend.LibvirtHypervisor.inspect = looked
    subprocess.run({command!r}, shell=True, check=True, stdout=subprocess.DEVNULL)
    return looked(self, domain)
_backend.LibvirtHypervisor.inspect = changed
"""


def meanwhile(vm: str, name: str) -> str:
    return MEANWHILE.format(where=WHERE, vm=vm, name=name)


def info(planted: Planted, fault: str, *vms: str, missing: str = "fail") -> dict[str, Any]:
    code = f"import json, subprocess\nimport driver\n{fault}\n"
    code += f"print(json.dumps(driver.info({WHERE!r}, {list(vms)!r}, {missing!r})))"
    found: dict[str, Any] = json.loads(planted.run_python(code))
    return found


@pytest.mark.parametrize("call", ["take", "remove", "remove the same", "revert", "revert to the same", "info"])
def test_what_goes_between_a_list_and_a_look(make_vm: MakeVm, call: str) -> None:
    """F31, one race at a time."""
    vm = make_vm("which-race")
    for name in ("a", "b", "c"):
        vm.take(name)
    vm.write("vda", 42)
    planted, going = vm.planted, meanwhile(vm.name, "a")
    if call == "info":
        (entry,) = info(planted, going, vm.name)["vms"]
        assert [one["name"] for one in entry["snapshots"]] == ["b", "c"]
        left = ["b", "c"]
    elif call == "take":
        entry, left = only(planted.snapshot(going, vm.name, "d", quiesce="never")), ["b", "c", "d"]
    elif call == "remove":
        entry, left = only(planted.remove(going, vm.name, name="c")), ["b"]
        assert entry["removed"] == ["c"]
    elif call == "remove the same":
        entry, left = only(planted.remove(going, vm.name, name="a")), ["b", "c"]
        assert (entry["changed"], entry["removed"]) == (False, [])
    elif call == "revert":
        entry, left = only(planted.revert(going, vm.name, "b")), ["b", "c"]
    else:
        entry, left = only(planted.revert(going, vm.name, "a")), ["b", "c"]
        assert entry["error_code"] == "snapshot_not_found"
    assert entry["failed"] == (call == "revert to the same"), entry["msg"]
    assert sorted(vm.snapshots()) == left
    assert vm.disk_reads("vda", 42) == (call != "revert")
    vm.sound()


@pytest.mark.parametrize("running", [False, True])
def test_six_remove_six_at_the_same_time(make_vm: MakeVm, running: bool) -> None:
    """F31 as it was found: none fails, each removes its own, and nothing is lost."""
    vm = make_vm("which-six", start=running)
    names = [f"c{number}" for number in range(1, 7)]
    for number, name in enumerate(names, 1):
        vm.take(name)
        vm.write("vda", number)
    with ThreadPoolExecutor(6) as pool:
        entries = list(pool.map(vm.remove, names))
    assert [(entry["error_code"], entry["removed"]) for entry in entries] == [(None, [name]) for name in names]
    assert vm.snapshots() == []
    assert vm.files() == {vm.active_file("vda")}
    if running:
        vm.off()
    assert vm.disk_reads("vda", 6)
    vm.sound()


@pytest.mark.parametrize("rename", [False, True])
@pytest.mark.parametrize("missing", ["fail", "skip"])
def test_a_vm_that_goes_before_its_turn(make_vm: MakeVm, missing: str, rename: bool) -> None:
    """It is that VM's failure, or missing; the others are done, also where it only has another name by now."""
    going, staying = make_vm("which-going"), make_vm("which-staying")
    make_vm("which-renamed").wipe()  # afterwards too
    vms = [going.name, staying.name]
    command = f"virsh domrename {going.name} which-renamed" if rename else f"virsh undefine {going.name}"
    fault = JUST_BEFORE.format(command=command)
    result = going.planted._call("snapshot", fault, vms, name="s", quiesce="never", parallel=1, missing=missing)
    entries = {entry["vm"]: entry["error_code"] for entry in result["vms"]}
    gone: dict[str, Any] = {} if missing == "skip" else {going.name: "vm_not_found"}
    assert entries == {**gone, staying.name: None}, result["msg"]
    assert result["missing"] == ([going.name] if missing == "skip" else [])
    assert staying.snapshots() == ["s"]
    if rename:
        assert going.host.virsh("snapshot-list", "which-renamed", "--name").split() == []


@pytest.mark.parametrize("missing", ["fail", "skip"])
def test_info_while_a_vm_goes(make_vm: MakeVm, missing: str) -> None:
    going, staying = make_vm("which-going"), make_vm("which-staying")
    fault = JUST_BEFORE.format(command=f"virsh undefine {going.name}")
    result = info(going.planted, fault, going.name, staying.name, missing=missing)
    entries = {entry["vm"]: entry["error_code"] for entry in result["vms"]}
    assert entries == {**({} if missing == "skip" else {going.name: "vm_not_found"}), staying.name: None}


def test_a_vm_of_many_names_is_one(make_vm: MakeVm) -> None:
    vm = make_vm("which-[1]")
    vms = [vm.name, vm.uuid.upper(), "which-[[]1]", vm.name]
    result = vm.planted._call("snapshot", "", vms, name="s", quiesce="never")
    assert [(entry["vm"], entry["changed"]) for entry in result["vms"]] == [(vm.name, True)]
    assert vm.snapshots() == ["s"]
