# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a VM has the disks that it had at a snapshot."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.backing_chain import real_chain
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.image_header import Image
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.layer_forest import Forest
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.file_identity import real_path
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.saved_snapshot import (
    Saved,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.refusals import inside_another
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.vm_handle import VmHandle
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.devices import Disk, image_disks
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.refusals import (
    disk_replaced,
    disks_changed,
    mixed_chain,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.plan import Resize


def check_same_disks(vm: str, target: Saved, disks: dict[str, Disk], overlays: Collection[str]) -> None:
    """Raise ``disks_changed`` where the VM has not the disks that it had; ``overlays`` are all that were made of its disks."""
    then = {disk.target for disk in target.vm_disks if disk.source and disk.device in ("disk", "lun")}
    covered = {part.target for part in target.disks}
    removed = sorted(covered - disks.keys())
    added = [name for name in sorted(disks.keys() - then) if not disks[name].readonly]
    if removed or added:
        raise disks_changed(vm, target.name, removed, added)
    for part in target.disks:
        before, now = (
            _chain(part.frozen, part.format),
            _chain(str(disks[part.target].source), disks[part.target].format),
        )
        # A pull leaves the overlay and nothing under it: that is the same disk still.
        if before and now and before[-1] != now[-1] and not set(now).intersection(overlays):
            raise disk_replaced(vm, target.name, part.target, (now[-1], before[-1]), (part.frozen, part.format))


def resizes(forest: Forest, states: Mapping[str, Sequence[Image]]) -> Iterator[Resize]:
    """Yield the disks that become another size: ``states`` are the chains of a snapshot."""
    for target, chain in states.items():
        now_on = forest.images.get(forest.tops.get(target, ""))
        if now_on and now_on.virtual_size != chain[0].virtual_size:
            yield Resize(target, now_on.virtual_size, chain[0].virtual_size)


def check_internal(handle: VmHandle, target: Saved, disks: dict[str, Disk]) -> None:
    """Raise ``mixed_chain`` where the VM has left the images that hold a snapshot inside, or something is based on them."""
    layers = handle.survey().layers
    for part in target.disks:
        state, top = real_path(part.frozen), real_path(str(disks[part.target].source))
        if state != top:
            raise mixed_chain(handle.name, f"{target.name!r} is inside {part.frozen}, and the VM is on {top} now")
        if layers.above(state) or state in layers.frozen - layers.fixed:
            raise mixed_chain(handle.name, f"{target.name!r} is inside {part.frozen}, which overlays are based on")


def check_removable_inside(handle: VmHandle, going: Iterable[Saved]) -> None:
    """Raise ``bad_state`` where a VM runs on another image than the one that a snapshot that goes is inside."""
    tops = {real_path(str(disk.source)) for disk in image_disks(handle.xml())}
    for one in going:
        for part in one.disks:
            if one.kind == "internal" and handle.active() and real_path(part.frozen) not in tops:
                raise inside_another(handle.name, one.name, part.frozen)


def _chain(file: str, image_format: str) -> list[str]:
    try:
        return real_chain(file, image_format)
    except (OSError, ValueError):
        return []  # said where chains are checked
