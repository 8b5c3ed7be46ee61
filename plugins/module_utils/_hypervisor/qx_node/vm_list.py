# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One list of the agent's VMs for all threads of a task: asking for it is dear where there are many."""

from __future__ import annotations

import threading
import time
from typing import Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.qx_node.http_client import QxNodeClient
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.qx_node.json_answers import read_vms
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import VirtualMachine

# What happens on the host meanwhile could as well happen right after a look. An agent that asks virsh about each VM takes seconds
# for a list, which would be most of a task; that a VM is there is seen anew all the same, when its snapshots are listed.
_FRESH = 2.0  # seconds
_TIMES = 5  # what asking takes
_OLDEST = 10.0


class Listing:
    """What ``/vms`` says, not older than two seconds; where it is slow, than five times what asking takes, or ten seconds."""

    def __init__(self, client: QxNodeClient) -> None:
        self._client = client
        self._guard = threading.Lock()
        self._vms: tuple[VirtualMachine, ...] = ()
        self._until = 0.0

    def vms(self) -> tuple[VirtualMachine, ...]:
        """Return all VMs, without their snapshots. Raises what the agent or the way to it fails with."""
        with self._guard:
            if time.monotonic() >= self._until:
                began = time.monotonic()
                self._vms = read_vms(self._client.get("/vms", "listing its VMs"))
                now = time.monotonic()
                self._until = now + min(max(_FRESH, _TIMES * (now - began)), _OLDEST)
            return self._vms

    def find(self, uuid: str) -> Optional[VirtualMachine]:
        """Return the VM of that UUID, None where there is none."""
        return next((vm for vm in self.vms() if vm.id.uuid == uuid), None)

    def forget(self) -> None:
        """Ask anew the next time: the state of a VM was changed."""
        with self._guard:
            self._until = 0.0
