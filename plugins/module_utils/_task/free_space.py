# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the file systems have room for what is planned, all VMs of a task added up."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.contract import Hypervisor
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.plan import Room, SnapshotPlan

# An overlay grows with every write of the guest, and a full file system stops it: keep this much free.
_RESERVE_SHARE = 0.05
_RESERVE_MOST = 1 << 30


def without_room(hypervisor: Hypervisor, plans: Sequence[SnapshotPlan]) -> dict[str, KvmError]:
    """Return, by VM UUID, why a plan may not begin: a directory that cannot be used or a file system nearly full."""
    rooms: dict[str, Room | KvmError] = {}
    for directory in sorted({need.directory for plan in plans for need in plan.needs}):
        try:
            rooms[directory] = hypervisor.room(directory)
        except KvmError as error:
            rooms[directory] = error
    wanted: dict[str, int] = defaultdict(int)
    for plan in plans:
        for need in plan.needs:
            room = rooms[need.directory]
            if isinstance(room, Room):
                wanted[room.filesystem] += need.bytes
    refused: dict[str, KvmError] = {}
    for plan in plans:
        for need in plan.needs:
            room = rooms[need.directory]
            refusal = room if isinstance(room, KvmError) else _shortage(need.directory, room, wanted[room.filesystem])
            if refusal:
                refused.setdefault(plan.vm.id.uuid, refusal)
    return refused


def _shortage(directory: str, room: Room, wanted: int) -> KvmError | None:
    reserve = min(int(room.total * _RESERVE_SHARE), _RESERVE_MOST)
    if room.free >= wanted + reserve:
        return None
    return KvmError(
        "no_space",
        f"The file system of {directory} is nearly full: {_mib(room.free)} MiB are free, the snapshots "
        f"need {_mib(wanted)} MiB, and {_mib(reserve)} MiB stay in reserve, because an overlay that "
        "cannot grow stops its guest.",
        "No VM on it was touched. Make room, or give another directory: overlay_dir.",
        directory=directory,
        free_bytes=room.free,
        wanted_bytes=wanted,
        reserve_bytes=reserve,
    )


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.0f}"
