# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is read under one lock is read once: how often a removal reads a VM's layers, and libvirt's list of snapshots."""

from __future__ import annotations

import json

import pytest

from .field import MakeVm, make_vm
from .planted import planted

__all__ = ("make_vm", "planted")

# The map of who uses what lists the snapshots of all VMs: that is counted apart.
_COUNT = """
import atexit, collections, libvirt, traceback
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt import vm_handle
counts = collections.Counter()

def listed():
    callers = [frame.filename.rpartition('/libvirt/')[2] for frame in traceback.extract_stack()]
    counts.update(['map' if 'host/users/read_users.py' in callers else 'snapshots'])

before(vm_handle, 'survey', lambda: counts.update(['layers']))
before(libvirt.virDomain, 'listAllSnapshots', listed)
atexit.register(lambda: open('/run/reading.json', 'w').write(json.dumps(counts)))
"""


@pytest.mark.parametrize("running", [True, False], ids=["running", "off"])
def test_a_removal_reads_layers_three_times_and_snapshots_five(make_vm: MakeVm, running: bool) -> None:
    vm = make_vm("reading", "vda", start=running)
    for name in ("s1", "s2"):
        assert not vm.take(name)["failed"]
    vm.write("vda", 7)
    assert vm.planted.remove(_COUNT, vm.name, name="s1")["changed"]
    counts = json.loads(vm.host.run(["cat", "/run/reading.json"]).stdout)
    assert 1 <= counts["layers"] <= 3, counts
    assert 1 <= counts["snapshots"] <= 5, counts
    assert vm.disk_reads("vda", 7)


_PLANS = """
import atexit, subprocess
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.hypervisor import LibvirtHypervisor
plans = []
before(take, 'plan_take', lambda: plans.append(1))
before(LibvirtHypervisor, 'is_still', lambda: subprocess.run({!r}, shell=True, stdout=subprocess.DEVNULL))
atexit.register(lambda: open('/run/plans.json', 'w').write(json.dumps(len(plans))))
"""


@pytest.mark.parametrize(
    ("change", "plans"),
    [
        ("true", 1),
        ("virsh snapshot-create-as {vm} other --disk-only --diskspec vda,file={image}.other", 2),
        ("virsh suspend {vm}", 2),
        ("sleep 2.1", 2),
    ],
    ids=["as it was", "another snapshot", "paused", "a while ago"],
)
def test_a_take_is_planned_anew_where_the_vm_is_not_as_it_was(make_vm: MakeVm, change: str, plans: int) -> None:
    """What was planned before the lock, to add up the room, stands under it only as long as nothing happens to the VM."""
    vm = make_vm("reading", "vda", start=True)
    vm.write("vda", 7)
    image = vm.active_file("vda")
    fault = _PLANS.format(change.format(vm=vm.name, image=image))
    (entry,) = vm.planted.snapshot(fault, vm.name, "s1")["vms"]
    assert json.loads(vm.host.run(["cat", "/run/plans.json"]).stdout) == plans
    assert entry["error_code"] is None, entry["msg"]
    base = f"{image}.other" if "other" in change else image
    assert [disk["base"] for disk in entry["snapshot"]["disks"]] == [base]
    assert vm.disk_reads("vda", 7)
    vm.sound()
