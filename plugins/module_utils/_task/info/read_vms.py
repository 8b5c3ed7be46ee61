# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading every VM that is asked for, a few at once. Changes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.contract import Hypervisor
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.keeping.labels import carries
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.refusals import vm_gone
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.snapshot_names import name_matches
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.info.result import VmInfo
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.info.vm_facts import VmFacts
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.parallel_vms import Fleet
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.selection import Selection, select
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import VmId


def gather(
    hypervisor: Hypervisor,
    patterns: Sequence[str] | None,
    names: Sequence[str] | None,
    parallel: int,
    timeout: int,
    *,
    missing: str = "fail",
    labels: Optional[Mapping[str, str]] = None,
) -> list[VmInfo]:
    """Read every selected VM (None: all there are) and of its snapshots those that ``names`` match and carry the ``labels``.

    Where VMs may be missing (``skip``), those are among what is returned.
    """
    meant = _meant(hypervisor, patterns, missing)
    fleet = Fleet(hypervisor, parallel, timeout)
    try:
        found = fleet.each(meant.vm_ids, partial(_read, names=names, labels=labels))
    finally:
        fleet.close()
    # Of all VMs there are, one that has just gone away is none.
    may_go = missing == "skip" or patterns is None
    read = [VmInfo(vm_id, facts, may_go and _is_gone(facts)) for vm_id, facts in zip(meant.vm_ids, found)]
    return [*read, *(VmInfo(VmId(name, ""), vm_gone(name), True) for name in meant.missing)]


def _meant(hypervisor: Hypervisor, patterns: Sequence[str] | None, missing: str) -> Selection:
    if patterns is not None and not patterns:
        return Selection(())
    vm_ids = hypervisor.vms()
    return Selection(tuple(vm_ids)) if patterns is None else select(vm_ids, patterns, missing)


def _is_gone(facts: VmFacts | KvmError) -> bool:
    return isinstance(facts, KvmError) and facts.error_code == "vm_not_found"


def _read(
    hypervisor: Hypervisor, vm_id: VmId, names: Sequence[str] | None, labels: Optional[Mapping[str, str]]
) -> VmFacts:
    vm = hypervisor.inspect(vm_id)
    named = (one for one in vm.snapshots if names is None or name_matches(one.name, names))
    return VmFacts(vm, tuple(one for one in named if carries(one, labels)), hypervisor.storage(vm))
