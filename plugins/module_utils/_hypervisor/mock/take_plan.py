# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Deciding a snapshot's disks and files in the mock, with the libvirt backend's own rules for what is covered."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from typing import Any

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.mock.refusals import (
    readable_chain,
    refuse_busy,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.mock.storage_report import Files
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.mock.vm_xml import vm_element
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.firmware_states import (
    FirmwareState,
    firmware_states,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.layer_steps import MOST_LAYERS
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.taking.coverage import cover
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.taking.files_plan import (
    check_depth,
    files_plan,
    overlay_directory,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.taking.firmware_copies import firmware_copies
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.plan import SnapshotPlan
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.request import SnapshotRequest
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import VirtualMachine


def plan_snapshot(
    vm: VirtualMachine, native: Mapping[str, Any], files: Files, request: SnapshotRequest
) -> SnapshotPlan:
    """Return the plan. Raises as `Hypervisor.plan` says."""
    refuse_busy(vm, native)
    covered, left_out = cover(vm.name, vm_element(native), request.disks, request.leaves_out)
    for disk in covered:
        chain = readable_chain(vm.name, disk.target, str(disk.source), files)
        check_depth(vm.name, disk, len(chain), MOST_LAYERS)
    directories = [(disk, overlay_directory(vm.name, disk, str(disk.source), request.overlay_dir)) for disk in covered]
    free = partial(unused, files)
    firmware = firmware_states(vm_element(native))
    copies, left_out = firmware_copies(
        vm.name, firmware, request, left_out, obstacle=partial(_obstacle, files), unused=free
    )
    return files_plan(vm, request, directories, left_out, free, copies=copies)


def _obstacle(files: Files, found: FirmwareState) -> str:
    """Return why a part of what the firmware keeps cannot be copied, "" where it can."""
    return "" if files.get(found.file) else f"{found.file} is not there: libvirt makes it when the VM is started"


def unused(files: Files, directory: str, stem: str, suffix: str) -> str:
    """Return a path that nothing has yet: a file of that name may be another snapshot's state."""
    path, number = os.path.join(directory, stem + suffix), 1
    while files.get(path) is not None:
        number += 1
        path = os.path.join(directory, f"{stem}-{number}{suffix}")
    return path
