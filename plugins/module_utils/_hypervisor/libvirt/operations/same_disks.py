# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a VM has the disks that it had at a snapshot."""

from __future__ import annotations

import os
from collections.abc import Collection

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.image import (
    read_chain,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.saved import (
    Saved,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.devices import Disk
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.refusals import (
    disk_replaced,
    disks_changed,
)


def check_same_disks(vm: str, target: Saved, disks: dict[str, Disk], overlays: Collection[str]) -> None:
    """Raise ``disks_changed`` where the VM has not the disks that it had; ``overlays`` are all that were made of its disks."""
    then = {disk.target for disk in target.domain_disks if disk.source and disk.device in ("disk", "lun")}
    covered = {part.target for part in target.disks}
    removed = sorted(covered - disks.keys())
    added = [name for name in sorted(disks.keys() - then) if not disks[name].readonly]
    if removed or added:
        raise disks_changed(vm, target.name, removed, added)
    for part in target.disks:
        before, now = _chain(part.state, part.format), _chain(str(disks[part.target].source), disks[part.target].format)
        # A pull leaves the overlay and nothing under it: that is the same disk still.
        if before and now and before[-1] != now[-1] and not set(now).intersection(overlays):
            raise disk_replaced(vm, target.name, part.target, (now[-1], before[-1]), (part.state, part.format))


def _chain(file: str, image_format: str) -> list[str]:
    try:
        return [os.path.realpath(image.file) for image in read_chain(file, image_format)]
    except (OSError, ValueError):
        return []  # said where chains are checked
