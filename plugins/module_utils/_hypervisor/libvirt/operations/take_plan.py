# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Deciding a snapshot's disks and files, and refusing what must not begin, without touching the VM."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import replace
from functools import partial
from typing import Any

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.checks import checked_chain
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.chain import peculiarity
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.frozen import foreseen
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.coverage import cover
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.files import (
    check_depth,
    check_domain,
    files_plan,
    overlay_directory,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.layers import MOST_LAYERS
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.plan import SnapshotPlan
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.request import SnapshotRequest
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import VirtualMachine

# Libvirt 10.8 to 11.10 cannot parse the chain of a VM with more layers at its start (json-c's depth of 32); fixed 12.0.
_SHALLOW_LIBVIRT, _SHALLOW_LAYERS = (10_008_000, 12_000_000), 25


def plan_snapshot(
    vm: VirtualMachine, domain: Any, request: SnapshotRequest, libvirt_version: int, leftovers: Collection[str]
) -> SnapshotPlan:
    """Return the plan; ``leftovers`` of a killed run will be gone before it begins. Raises as `Hypervisor.plan` says."""
    check_domain(vm)
    covered, left_out = cover(vm.name, domain, request.disks, request.leaves_out, peculiarity)
    shallow = _SHALLOW_LIBVIRT[0] <= libvirt_version < _SHALLOW_LIBVIRT[1]
    files: list[str] = []
    for disk in covered:
        chain = checked_chain(vm.name, disk)
        check_depth(vm.name, disk, len(chain), _SHALLOW_LAYERS if shallow else MOST_LAYERS)
        files += [image.file for image in chain]
    directories = [
        (disk, overlay_directory(vm.name, disk, os.path.realpath(str(disk.source)), request.overlay_dir))
        for disk in covered
    ]
    plan = files_plan(vm, request, directories, left_out, partial(unused_path, leftovers))
    past = foreseen(files, os.path.dirname(plan.snapshot.memory_file or ""))
    return replace(plan, snapshot=replace(plan.snapshot, past=past.past, past_reasons=past.reasons))


def unused_path(leftovers: Collection[str], directory: str, stem: str, suffix: str) -> str:
    """Return a path that nothing has yet: a file of that name may be another snapshot's state."""
    path, number = os.path.join(directory, stem + suffix), 1
    while os.path.lexists(path) and path not in leftovers:
        number += 1
        path = os.path.join(directory, f"{stem}-{number}{suffix}")
    return path
