# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The domain XML that rules read of a mock's VM."""

from __future__ import annotations

from typing import Any

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.mock.vm_xml import vm_element
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.devices import agent_connected, disks
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.taking.memory import memory_blockers


def native(**values: Any) -> dict[str, Any]:
    disk = {"target": "vda", "source": "/vm/a", "format": "qcow2"}
    return {"disks": [disk], "agent": "none", "state": "running", **values}


def test_a_disk_is_as_the_state_file_has_it() -> None:
    odd = {"target": "sda", "type": "block", "source": "/dev/a", "format": "raw", "readonly": True, "snapshot": "no"}
    first, second = disks(vm_element(native(disks=[*native()["disks"], odd])))
    assert (first.target, first.source, first.format, first.readonly) == ("vda", "/vm/a", "qcow2", False)
    assert (second.source, second.readonly, second.snapshot, second.type) == ("/dev/a", True, "no", "block")


def test_a_guest_agent_is_connected_while_the_vm_runs() -> None:
    assert agent_connected(vm_element(native(agent="running")))
    assert not agent_connected(vm_element(native(agent="running", state="shutoff")))
    assert not agent_connected(vm_element(native()))


def test_what_blocks_saving_memory_is_in_the_xml() -> None:
    assert memory_blockers(vm_element(native())) == ()
    assert memory_blockers(vm_element(native(cpu={"invtsc": True})))
    assert memory_blockers(vm_element(native(host_devices=["pci"])))
