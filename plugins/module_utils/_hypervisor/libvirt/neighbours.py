# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What others on the host have to do with a VM's storage: its neighbours, disks it once had, definitions it once had."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.checks import frozen_written
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.leftovers import leftovers
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.definition import gone_layers
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.vm import VmHandle
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.storage import Storage


def with_neighbours(handle: VmHandle, found: Storage) -> Storage:
    """Add to a VM's storage what is known of it beyond its own chains."""
    every = handle.saved()
    errors = list(frozen_written(handle, every))
    if errors:  # half of what a run, or virsh, was just doing is no trouble: looked at once more
        errors = [] if handle.records.held(handle.id) else list(frozen_written(handle, handle.saved()))
    with suppress(KvmError):  # a chain that cannot be read is told of already
        found = replace(found, leftovers=tuple(leftovers(handle.name, handle.survey(), every)))
    gone = [
        f"its definition names {file}, which is gone, so {handle.name} would not start: remove any "
        "snapshot of it, and the definition is repaired"
        for file in gone_layers(handle.definition())
    ]
    return replace(
        found,
        problems=(*found.problems, *(error.message for error in errors), *gone),
        definition_changed=tuple(one.details["disk"] for one in errors if one.error_code == "definition_changed"),
    )
