# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which snapshot a VM is based on, going by the files of its disks: libvirt's word for it may be a makeshift."""

from __future__ import annotations

from typing import Any

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.backing_chain import walk_chain
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.layer_forest import Forest
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.any_format_backing import (
    UNREADABLE,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.real_paths import real_path
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.saved_snapshot import Saved
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.devices import disks


def true_current(snapshots: list[Saved], forest: Forest, called: str | None) -> str | None:
    """Return the snapshot that the VM's present is based on, going by its layers: the one whose states are nearest, if any.

    Where several are, as those inside one image, it is the one that libvirt calls current, or the newest.
    """
    depths = {one.name: depth for one in snapshots if (depth := _depth(one, forest)) is not None}
    newest_first = sorted(snapshots, key=lambda one: one.created_at, reverse=True)
    near = [one.name for one in newest_first if one.name in depths and depths[one.name] == min(depths.values())]
    return called if called in near else next(iter(near), None)


def _depth(snapshot: Saved, forest: Forest) -> int | None:
    depths = []
    for part in snapshot.disks:
        if part.target not in forest.tops:
            continue
        chain, state = forest.chain(forest.tops[part.target]), real_path(part.frozen)
        if state not in chain or (part.overlay and state == chain[0]):
            return None
        depths.append(chain.index(state))
    return min(depths, default=None)


def is_below(snapshot: Saved, xml: Any) -> bool:
    """Whether the VM whose XML this is builds upon a snapshot's state, going by the files of its disks."""
    now_on = {disk.target: disk for disk in disks(xml)}
    for part in snapshot.disks:
        disk, state = now_on.get(part.target), real_path(part.frozen)
        if disk is None or disk.source is None:
            continue
        chain = (real_path(image.file) for image in walk_chain(disk.source, disk.format))
        try:
            if state not in chain:
                return False
        except UNREADABLE:
            return True  # that trouble is told elsewhere, and libvirt's word is all there is
    return True
