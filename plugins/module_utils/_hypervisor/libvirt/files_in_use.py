# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who has a file open, or mounted, that is about to be merged or deleted: asked before anything, in check mode too."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.layer_forest import Forest
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.file_identity import is_device
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.open_files import (
    still_open,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.in_use_refusals import (
    in_use,
    read_by,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.merge.open_layers import (
    open_by_others,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.merge.qemu_monitor import qemu_pid
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.read_only_files import (
    refuse_read_only,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.refusals import (
    under_transient,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.vm_handle import VmHandle
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.devices import image_disks
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.layer_steps import Drop, Merge, Step
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError


def refuse_open(handle: VmHandle, found: Sequence[Step], going: Iterable[str] = ()) -> None:
    """Raise ``file_in_use`` where a process or a mount beside the VM has a layer that is about to be merged or dropped,
    or another file that is ``going``.
    """
    merges = [step for step in found if isinstance(step, Merge)]
    for one in open_by_others(handle, {file for step in merges for file in (*step.gone, step.base)}):
        raise in_use(handle.name, one.file, one.why, one.remedy)
    # Of what is off the chain the VM's own QEMU has nothing open, unless libvirt was killed while it switched disks.
    refuse_readers(handle.name, (*(step.file for step in found if isinstance(step, Drop)), *going))


def passing(handle: VmHandle) -> list[str]:
    """Return the transient disks, by target, of a VM that runs: each is on an overlay of libvirt's that goes when it stops."""
    return (
        [disk.target for disk in image_disks(handle.xml()) if disk.transient and disk.backing]
        if handle.active()
        else []
    )


def refuse_under_passing(handle: VmHandle, forest: Forest, found: Sequence[Step]) -> None:
    """Raise ``bad_state`` where a layer under a transient disk of a running VM is about to be merged: libvirt does not."""
    for target in passing(handle):
        chain = forest.chain(forest.tops[target])
        if any(isinstance(step, Merge) and step.top in chain for step in found):
            raise under_transient(handle.name, target)


def refuse_thrown_away(handle: VmHandle, files: Iterable[str]) -> None:
    """Raise ``file_in_use`` where a process beside the VM has a file open that goes when the VM has left it."""
    own = qemu_pid(handle.name) if handle.active() else None
    refuse_readers(handle.name, files, own, " Or keep what the VM has now in a snapshot: keep_current: true.")


def undeletable(handle: VmHandle, files: Iterable[str]) -> KvmError | None:
    """Return why one of the files that nothing needs could not be deleted now, None where nothing is known to prevent it."""
    going = list(files)
    try:
        refuse_read_only(handle.name, (), going, handle.around().files.mounts)
        refuse_readers(handle.name, going)
    except KvmError as error:
        return error
    return None


def refuse_readers(vm: str, files: Iterable[str], but: int | None = None, or_else: str = "") -> None:
    """Raise ``file_in_use`` where a process other than ``but`` has one of the files open that are to be deleted."""
    for file, pid in still_open((file for file in files if not is_device(file)), but=but).items():
        raise read_by(vm, file, pid, or_else)
