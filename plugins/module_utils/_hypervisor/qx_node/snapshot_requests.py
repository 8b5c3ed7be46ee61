# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM's snapshots at the agent: the list of them, asked for anew each time, and the requests that change it."""

from __future__ import annotations

from typing import Any, Optional
from urllib.parse import quote

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.qx_node.error_texts import translated
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.qx_node.http_client import (
    QxNodeClient,
    QxNodeError,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.qx_node.json_answers import (
    Listed,
    read_snapshots,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.qx_node.lost_answers import (
    LOOK_SECONDS,
    unverified,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.refusals import (
    removed_meanwhile,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.deadline import Deadline
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import VmId

_LEAST_SECONDS = 1.0  # for the answer to a change


class Snapshots:
    """The snapshots of an agent's VMs. Raises what the agent or the way to it fails with."""

    def __init__(self, client: QxNodeClient) -> None:
        self._client = client

    def change(self, method: str, path: str, body: Optional[dict[str, Any]], deadline: Deadline, what: str) -> None:
        """Ask for a change. Raises `QxNodeError` where the agent refuses, `InDoubtError` where nobody knows.

        Raises ``timeout`` where no time is left to wait for the answer: a change that nobody waits for is not begun.
        """
        seconds = self._patience(deadline)
        if seconds < _LEAST_SECONDS:
            raise KvmError(
                "timeout",
                f"The {deadline.seconds:.0f} s of timeout were over before {what} could begin.",
                "Nothing was sent to qx-node. Run the task again, with a longer timeout.",
            )
        self._client.change(method, path, body, seconds, what)

    def _patience(self, deadline: Deadline) -> float:
        """Return how long a change may take: what is left of the VM's time, less what looking afterwards needs."""
        left = deadline.remaining()
        return left - min(2.0 * self._client.address.timeout, left / 2)

    def listed(self, vm_id: VmId, seconds: Optional[float] = None) -> tuple[Listed, ...]:
        """Return the snapshots of a VM as the agent lists them."""
        try:
            return read_snapshots(self._client.get(path_of(vm_id), f"listing the snapshots of {vm_id.name}", seconds))
        except QxNodeError as failure:
            raise translated(failure, vm_id.name) from failure

    def is_listed(self, vm_id: VmId, name: str) -> bool:
        """Whether a snapshot is there, asked for no longer than one look may take."""
        return any(one.name == name for one in self.listed(vm_id, LOOK_SECONDS))

    def listed_after(self, vm_id: VmId, what: str) -> tuple[Listed, ...]:
        """Look after the agent has said that it is done. Raises ``outcome_unknown`` where that fails."""
        try:
            return self.listed(vm_id)
        except KvmError as error:
            raise unverified(what, error) from error

    def id_of(self, vm_id: VmId, name: str) -> str:
        """Return what the agent calls a snapshot in its paths. Raises ``busy`` where that is gone."""
        found = next((one.id for one in self.listed(vm_id) if one.name == name), None)
        if found is None:
            raise removed_meanwhile(vm_id.name, name)
        return found


def path_of(vm_id: VmId, snapshot_id: str = "") -> str:
    """Return the path of a VM's snapshots, or of one."""
    path = f"/vms/{quote(vm_id.uuid, safe='')}/snapshots"
    return f"{path}/{quote(snapshot_id, safe='')}" if snapshot_id else path
