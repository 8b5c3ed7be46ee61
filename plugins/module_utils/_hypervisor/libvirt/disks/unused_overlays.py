# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Overlays that are of no use to their VM any more and that are kept, because their data may be somebody's."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timezone
from types import MappingProxyType
from typing import Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.layer_forest import Forest
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.real_paths import real_path
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.saved_snapshot import Saved
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.vm_record import Record
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.devices import Disk
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import SnapshotDisk
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.storage import Leftover


def leftovers(
    vm: str, forest: Forest, snapshots: Iterable[Saved], onto: Mapping[str, str] = MappingProxyType({})
) -> Iterator[Leftover]:
    """Yield what nothing of the VM needs, with the reason why it stays; ``snapshots`` are all there were.

    ``onto`` has the files that disks, by target, are about to be put on.
    """
    snapshots = list(snapshots)
    buses = {disk.target: disk.bus for one in snapshots for disk in one.vm_disks}
    named = {real_path(str(part.overlay)): (one.name, part.target) for one in snapshots for part in one.disks}
    for file in forest.unneeded():
        if file not in forest.why:
            continue
        snapshot, target = named.get(file, (None, None))
        target = forest.detached.get(file) or target
        others = [one for one in forest.layers.above(file) if one not in forest.layers.ours]
        shared = file in forest.shared
        if file in forest.detached and not forest.used_by_others(file):
            now_on = forest.tops.get(target or "")
            now_on = onto.get(target or "", forest.spelled.get(str(now_on), now_on))
            found = _detached(vm, file, target, snapshot, now_on, bus=buses.get(target or "", ""))
            reason = f"{found.reason}. {others[0]} is based on it" if others else ""
            found = replace(found, why="other", reason=reason, bring_back=None) if others else found
            yield replace(found, shared=shared)
        else:
            why = "shared" if shared else "other"
            yield Leftover(file, why, forest.why[file], target, _last_written(file), snapshot, shared=shared)


def left_whole(vm: str, forest: Forest, record: Record, overlays: Iterable[SnapshotDisk]) -> Iterator[Leftover]:
    """Yield the overlays of ours that a VM leaves for new ones, and that are whole disks: others took all below into them.

    They have no base (``virsh blockpull``), so that no header tells whose they are once the VM has left them.
    """
    for overlay in overlays:
        top = forest.tops.get(overlay.target)
        if top in record.made and forest.layers.backing.get(top, "") is None and top not in forest.layers.frozen:
            yield _detached(vm, top, overlay.target, None, overlay.file)


def left_at_the_stop(vm: str, forest: Forest, left: Mapping[str, Disk], later: Mapping[str, str]) -> Iterator[Leftover]:
    """Yield the overlays of ours that a running VM writes to and is not on any more once it is stopped: ``later`` has the images
    that its disks, by target, are on from then on.
    """
    for file, disk in sorted(left.items()):
        if file in forest.layers.ours:
            yield _detached(vm, file, disk.target, None, later.get(disk.target), bus=disk.bus)


def _detached(
    vm: str, file: str, target: Optional[str], snapshot: Optional[str], now_on: Optional[str], *, bus: str = ""
) -> Leftover:
    """Return the leftover that was the disk ``target`` of a VM, which is on ``now_on`` there, or has no such disk now."""
    written, disk = _last_written(file), target or "a disk"
    attach = ["virsh", "attach-disk", vm, file, target or "TARGET"]
    attach += ["--targetbus", bus] if bus else []  # libvirt guesses it from the target: of sda it says scsi
    attach += ["--driver", "qemu", "--subdriver", "qcow2", "--config"]
    command = shlex.join(attach)
    if now_on and target:
        reason = f"it was {disk} of {vm}, which has {now_on} as that disk now; it was last written {written}"
        command = f"{shlex.join(['virsh', 'detach-disk', vm, target, '--config'])} && {command}"
    else:
        reason = f"it was {disk} of {vm}, which no longer has that disk; it was last written {written}"
    return Leftover(file, "detached", reason, target, written, snapshot, command)


def _last_written(file: str) -> Optional[str]:
    try:
        written = os.stat(file).st_mtime
    except OSError:
        return None
    return datetime.fromtimestamp(int(written), timezone.utc).isoformat()
