# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who beside the VM has layers open that are about to be merged: asked by the plan, and again before each merge."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.kernel_holders import (
    mounted_from,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.open_files import (
    Holders,
    locked,
    still_open,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.in_use_refusals import (
    holder,
    in_use,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.merge.qemu_monitor import qemu_pid
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.vm_handle import VmHandle
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.layer_steps import Merge
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError

_QEMU_LOCK = 'Failed to get "'  # QEMU's words where somebody else has locked an image; libvirt passes them on


@dataclass(frozen=True)
class OpenLayer:
    """A layer that somebody has in use: ``why`` in words, and how to find out who it is and what to do."""

    file: str
    why: str
    remedy: str


def open_by_others(handle: VmHandle, files: Iterable[str]) -> Iterator[OpenLayer]:
    """Yield the layers that a process or a mount beside the VM has, or somebody elsewhere; who lets go of one is waited for."""
    running, wanted = handle.active(), list(files)
    own = qemu_pid(handle.name) if running else None
    users: Holders = {}
    if own:
        users = locked(wanted, but=own)
    elif not running:  # who reads an image without QEMU's locks, to back it up, is to read one that stands still
        users = still_open(wanted)
    for file, pid in users.items():
        yield OpenLayer(file, *holder(file, pid))
    mounts = handle.around().files.mounts
    for file in sorted(wanted):
        point = mounted_from(file, mounts)
        if point:
            why = f"it is mounted on this host at {point}"
            yield OpenLayer(file, why, f"Unmount it first: umount {shlex.quote(point)}.")


def refuse_locked(handle: VmHandle, step: Merge, error: KvmError) -> None:
    """Raise ``file_in_use`` where a merge failed because somebody has locked a layer since all were looked at."""
    if _QEMU_LOCK in error.message:
        files = (step.base, *step.gone)
        one = next(open_by_others(handle, files), None) or OpenLayer(step.base, *holder(step.base, None))
        raise in_use(handle.name, one.file, one.why, one.remedy, "This merge was not begun.") from error
