# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes when a VM goes back to a snapshot, and what of that stays because somebody may need it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.layer_forest import Forest
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.unused_overlays import (
    left_whole,
    leftovers,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.files_in_use import (
    passing,
    refuse_thrown_away,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.file_identity import is_device
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.real_paths import real_path
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.saved_snapshot import (
    Saved,
    SavedDisk,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.read_only_files import (
    refuse_read_only,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.vm_handle import VmHandle
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.vm_record import Record
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import SnapshotDisk
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.storage import Leftover


def what_goes(
    handle: VmHandle, forest: Forest, record: Record, disks: Iterable[SavedDisk], kept_now: bool
) -> tuple[str, ...]:
    """Return the files that go when ``disks`` are put on new overlays, and leave ``forest`` as it is then.

    With ``kept_now`` a snapshot is taken first that holds what the VM has now, so that this stays.
    Raises ``file_read_only`` or ``file_in_use`` where one of them could not be deleted: the VM would be stopped by then.
    """
    forest.stop_passing(passing(handle))
    states = {part.target: real_path(part.frozen) for part in disks}
    if kept_now:
        forest.layers.frozen |= {forest.tops[target] for target in states if target in forest.tops}
    going = tuple(file for file in forest.go_back(states, record) if not is_device(file))
    refuse_read_only(handle.name, (), going, handle.around().files.mounts)
    refuse_thrown_away(handle, going)
    return going


def what_stays(
    vm: str, before: Forest, forest: Forest, record: Record, *, every: list[Saved], overlays: tuple[SnapshotDisk, ...]
) -> tuple[Leftover, ...]:
    """Return the overlays that the VM leaves, or has left, for the new ``overlays`` and that stay all the same.

    What a snapshot still names is named by that, save what the VM was on ``before``: this is where it leaves that.
    """
    onto: Mapping[str, str] = {part.target: str(part.file) for part in overlays}
    needed = before.layers.active | before.layers.frozen
    found = leftovers(vm, forest, every, onto)
    return (
        *left_whole(vm, forest, record, overlays),
        *(one for one in found if one.snapshot is None or one.why == "detached" or one.file in {*record.kept, *needed}),
    )
