# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every backend plans alike: the files of a snapshot and the room they need, once its disks are known."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Callable

from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.devices import Disk
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.firmware_states import NVRAM, TPM
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.snapshot_names import file_name
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.plan import Need, SnapshotPlan
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.request import SnapshotRequest
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import LeftOut, Snapshot, SnapshotDisk
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import VirtualMachine

NEW_OVERLAY = 1 << 20  # bytes an empty overlay and its first tables take
MEMORY_EXTRA = 64 << 20  # bytes of device state, video memory and headers beside the guest's memory


def files_plan(
    vm: VirtualMachine,
    request: SnapshotRequest,
    directories: Sequence[tuple[Disk, str]],
    left_out: tuple[LeftOut, ...],
    unused: Callable[[str, str, str], str],
    *,
    copies: Mapping[str, str],
) -> SnapshotPlan:
    """Return the plan for disks, each with the directory of its overlay.

    ``unused`` finds a path that nothing has, from a directory, a file name's stem and its suffix. ``copies`` is where
    UEFI variables and the state of a TPM are copied to. Without disks no snapshot comes of the plan.
    """
    overlays = tuple(
        SnapshotDisk(
            disk.target,
            unused(directory, file_name(vm.name, disk.target, request.name), ".qcow2"),
            "qcow2",
            None,
            disk.source,
        )
        for disk, directory in directories
    )
    needs = [Need(directory, NEW_OVERLAY) for _disk, directory in directories]
    memory_file = None
    if request.include_memory and directories:
        first = directories[0][1]
        memory_file = unused(first, file_name(vm.name, request.name), ".memory")
        needs.append(Need(first, vm.memory_bytes + MEMORY_EXTRA))
    snapshot = Snapshot(
        name=request.name,
        description=request.description or "",
        parent=next((one.name for one in vm.snapshots if one.current), None),
        current=True,
        state=_state(vm, request),
        include_memory=request.include_memory,
        disks=overlays,
        left_out=left_out,
        memory_file=memory_file,
        nvram=copies.get(NVRAM) if directories else None,
        tpm=copies.get(TPM) if directories else None,
        owned=True,
        protected=bool(request.protected),
        labels=request.labels or {},
    )
    firmware = tuple(f"{part.target}: {part.reason}" for part in left_out if part.target in (NVRAM, TPM))
    return SnapshotPlan(vm=vm, request=request, snapshot=snapshot, needs=tuple(needs), notes=firmware)


def _state(vm: VirtualMachine, request: SnapshotRequest) -> str:
    """Return the state libvirt will note: of a VM with a process, only memory makes more of it than its disks."""
    return vm.power if request.include_memory or not vm.active else "disk-snapshot"


def check_vm(vm: VirtualMachine) -> None:
    """Raise ``transient_domain`` or ``bad_state`` for a VM that no snapshot can be taken of."""
    if not vm.persistent:
        raise KvmError(
            "transient_domain",
            f"{vm.name} is not defined in libvirt (transient): its snapshots would vanish with it, and "
            "their overlays would stay.",
            f"Nothing was changed. Define it first: virsh dumpxml --security-info {vm.name} > vm.xml && virsh define vm.xml.",
        )
    if vm.power not in ("running", "paused", "shutoff", "crashed"):
        message = (
            f"{vm.name} is {vm.power}. Its snapshots can be worked on while it is running, paused, crashed or shut off."
        )
        remedy = f"Nothing was changed. Bring it there (one that sleeps: virsh dompmwakeup {vm.name}), then run the task again."
        raise KvmError("bad_state", message, remedy)


def check_depth(vm: str, disk: Disk, layers: int, most: int) -> None:
    """Raise ``chain_too_deep`` where a disk's chain has all the layers already that its hypervisor can start it with."""
    if layers >= most:
        raise KvmError(
            "chain_too_deep",
            f"Disk {disk.target} of {vm} has {layers} layers. With one more, this host's libvirt could "
            "not start the VM.",
            "Nothing was changed. Remove snapshots of the VM first.",
            layers=layers,
        )


def overlay_directory(vm: str, disk: Disk, source: str, overlay_dir: str | None) -> str:
    """Return where the overlay of a disk goes, beside ``source`` by default. Raises ``overlay_dir_unusable``."""
    if overlay_dir is not None:
        return overlay_dir
    if disk.type == "block":
        raise KvmError(
            "overlay_dir_unusable",
            f"Disk {disk.target} of {vm} is the block device {disk.source}, and no overlay can be in its directory.",
            "Nothing was changed. Give a directory for it when a snapshot is taken: overlay_dir, with state: present.",
            directory=os.path.dirname(source),
        )
    return os.path.dirname(source)
