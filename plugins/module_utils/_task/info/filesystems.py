# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file systems that hold the images of the VMs that were read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.contract import Hypervisor
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.info.result import VmInfo
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.info.vm_facts import VmFacts


def filesystems(hypervisor: Hypervisor, vms: Sequence[VmInfo]) -> list[dict[str, Any]] | None:
    """Return the result's ``filesystems``, None where the hypervisor does not tell."""
    users: dict[str, set[str]] = {}
    writers: dict[str, set[str]] = {}
    for vm in vms:
        if isinstance(vm.facts, VmFacts):
            for file in _files(vm.facts):
                users.setdefault(file, set()).add(vm.vm_id.name)
            for chain in vm.facts.storage.chains:
                for active in chain.layers[:1] if chain.writable else ():
                    writers.setdefault(active.file, set()).add(vm.vm_id.name)
    found = hypervisor.filesystems(users)
    if found is None:
        return None
    return [
        {
            "path": one.path,
            "total": one.total,
            "free": one.free,
            "vms": sorted(set().union(*(users[file] for file in one.files))),
            "written_by": sorted(set().union(*(writers.get(file, ()) for file in one.files))),
        }
        for one in found
    ]


def _files(facts: VmFacts) -> Iterator[str]:
    """Give the images of a VM, and what holds its snapshots beside them."""
    for chain in facts.storage.chains:
        yield from (layer.file for layer in chain.layers)
    for snapshot in facts.vm.snapshots:
        yield from (disk.file for disk in snapshot.disks if disk.file)
        if snapshot.memory_file:
            yield snapshot.memory_file
