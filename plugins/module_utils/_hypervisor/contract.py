# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The contract of every backend: few methods, each with what it raises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.meeting import Meeting
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.deadline import Deadline
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.plan import (
    Done,
    Recovery,
    RemovalPlan,
    RevertPlan,
    Room,
    SnapshotPlan,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.request import SnapshotRequest
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import Snapshot
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.storage import FileSystem, Storage
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import VirtualMachine, VmId


class Hypervisor(ABC):
    """One connection to one hypervisor, used by one thread at a time.

    Every method raises `KvmError` and nothing native; ``connection_lost``, ``libvirt_error`` and ``record_unusable``
    may come from any of them.
    """

    # Whether what a task needs can be added up over its VMs beforehand (`room`). Where it cannot, a task that acts looks at each
    # VM under its lock only.
    adds_up = True

    @abstractmethod
    def vms(self) -> list[VmId]:
        """Return who there is, running or not, sorted by name."""

    @abstractmethod
    def inspect(self, vm_id: VmId) -> VirtualMachine:
        """Read a VM and its snapshots. Raises ``vm_not_found`` when it went away meanwhile."""

    def is_still(self, _vm: VirtualMachine) -> bool:
        """Whether a VM is as it was inspected a moment ago, so that what was decided by that holds; False where in doubt."""
        return False

    @abstractmethod
    def storage(self, vm: VirtualMachine) -> Storage:
        """Read the backing chains of a VM's disks and the overlays around them that nothing knows.

        ``orphans`` of it are those that are in no chain of anything: what `delete_orphans` may be given.
        """

    @abstractmethod
    def filesystems(self, files: Collection[str]) -> Optional[tuple[FileSystem, ...]]:
        """Return the file systems that hold these images, sorted by path; None where the hypervisor does not tell.

        An image on a block device is on none.
        """

    @abstractmethod
    def plan_take(self, vm: VirtualMachine, request: SnapshotRequest) -> SnapshotPlan:
        """Decide disks and files of a snapshot without touching the VM; ``request`` is already resolved for it.

        A plan without disks is nothing to take: the VM has none that a snapshot could hold.
        Raises ``disk_not_found``, ``disk_not_covered``, ``transient_domain``, ``managed_save``, ``block_job_active``, ``busy``,
        ``missing_library``, ``chain_mismatch``, ``chain_too_deep``, ``overlay_dir_unusable``, ``bad_name`` or ``bad_state``.
        """

    @abstractmethod
    def room(self, directory: str) -> Room:
        """Return the room in a directory. Raises ``overlay_dir_unusable``."""

    @abstractmethod
    def lock(self, vm_id: VmId, deadline: Deadline) -> AbstractContextManager[None]:
        """Hold a VM against every other run on this host; the lock dies with its holder. Raises ``locked``."""

    @abstractmethod
    def take(self, plan: SnapshotPlan, deadline: Deadline, meeting: Optional[Meeting] = None) -> Done:
        """Take the planned snapshot, verify it and read it back; the VM's lock is held.

        With a ``meeting`` the VM is suspended and its disks are switched together with the others there. Then it may raise
        ``appointment_missed`` too, when nothing has changed, or ``not_resumed``.

        Raises ``memory_blocked``, ``quiesce_failed``, ``overlay_failed``, ``busy`` or ``timeout`` when nothing has
        changed; ``quiesce_lost``, ``thaw_failed`` or ``verification_failed`` when the snapshot is there all the same.
        """

    @abstractmethod
    def plan_revert(self, vm: VirtualMachine, snapshot: Snapshot, power: str, kept_now: bool = False) -> RevertPlan:
        """Decide a revert and check all that can be, without touching the VM.

        With ``kept_now`` a snapshot will be taken first, of all that the VM has now: none of it is thrown away then.
        Raises ``disks_changed``, ``file_missing``, ``mixed_chain``, ``managed_save``, ``block_job_active``, ``busy``,
        ``missing_library``, ``device_missing``, ``file_unreachable``, ``file_in_use``, ``file_read_only``, ``chain_mismatch``,
        ``transient_domain``, ``overlay_dir_unusable`` or ``bad_state``.
        """

    @abstractmethod
    def revert(self, plan: RevertPlan, deadline: Deadline) -> Done:
        """Revert as planned, verify it and tell what came of it; the VM's lock is held.

        Raises ``overlay_failed`` when nothing has changed; ``start_failed`` when it does not start and is back where it was,
        booted anew where it ran; ``busy`` when somebody has started it meanwhile, and it runs on; ``verification_failed``.
        """

    @abstractmethod
    def plan_remove(
        self, vm: VirtualMachine, snapshots: Sequence[Snapshot], orphans: Sequence[str] = ()
    ) -> RemovalPlan:
        """Decide the removal of snapshots, leaf first, and check all that can be, without touching the VM.

        ``orphans`` are files that will have been deleted by then.
        Raises ``mixed_chain``, ``block_job_active``, ``busy``, ``managed_save``, ``chain_mismatch``, ``file_missing``,
        ``missing_library``, ``transient_domain``, ``no_space``, ``file_in_use``, ``file_read_only`` or ``bad_state``.
        """

    @abstractmethod
    def remove(self, plan: RemovalPlan, bandwidth: int, deadline: Deadline) -> Done:
        """Remove the plan's snapshots, which go together, verify it and tell what came of it; the VM's lock is held.

        ``bandwidth`` is in MiB/s, 0 for no limit. Raises ``timeout`` or ``merge_failed`` where the VM goes on as before
        and the next run continues, ``apparmor_denied`` or ``busy`` when nothing has changed, or ``verification_failed``.
        """

    @abstractmethod
    def recover(self, vm: VirtualMachine, deadline: Deadline) -> Recovery:
        """Finish or undo what an interrupted run left of the VM, and say which; the VM's lock is held.

        Raises as `revert` and `remove` do.
        """

    def cannot_recover(self, vm: VirtualMachine) -> Optional[KvmError]:  # noqa: ARG002 -- a default that knows nothing
        """Return why `recover` would refuse as things are, None where it would not, or where only trying tells.

        Nothing is changed, and the VM's lock is not needed.
        """
        return None

    def cannot_annotate(self) -> Optional[KvmError]:
        """Return why `annotate` cannot note anything here, None where it can."""
        return None

    @abstractmethod
    def annotate(self, vm: VirtualMachine, snapshot: Snapshot) -> None:
        """Note a snapshot's ``owned``, ``protected``, ``labels``, ``expires`` and ``description``, all in one step or none.

        The VM's lock is held. Raises ``busy`` where the snapshot is gone.
        """

    def cannot_delete(self, vm: VirtualMachine, files: Sequence[str]) -> Optional[KvmError]:  # noqa: ARG002 -- as above
        """Return why one of the files could not be deleted by `delete_orphans` as things are, None where nothing is known."""
        return None

    @abstractmethod
    def delete_orphans(self, vm: VirtualMachine, files: Sequence[str]) -> tuple[str, ...]:
        """Delete those of the files that are still overlays nothing uses, and return them; the VM's lock is held."""

    @abstractmethod
    def another(self) -> Hypervisor:
        """Open one more connection to the same hypervisor, for another thread."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the connection."""

    def __enter__(self) -> Hypervisor:
        return self

    def __exit__(
        self,
        exc_type: Optional[type[BaseException]],
        exc: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.close()
