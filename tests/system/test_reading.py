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
    counts.update(['map' if 'host/file_users.py' in callers else 'snapshots'])

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
