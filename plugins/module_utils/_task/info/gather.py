# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading every VM that is asked for, a few at once. Changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.contract import Hypervisor
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.names import name_matches
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.refusals import vm_gone
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.fleet import Fleet
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.info.facts import VmFacts
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.info.result import VmInfo
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.selection import Selection, select
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import DomainId


def gather(
    hypervisor: Hypervisor,
    patterns: Sequence[str] | None,
    names: Sequence[str] | None,
    parallel: int,
    timeout: int,
    *,
    missing: str = "fail",
) -> list[VmInfo]:
    """Read every selected VM (None: all there are) and of its snapshots those that ``names`` match (None: all).

    Where VMs may be missing (``skip``), those are among what is returned.
    """
    meant = _meant(hypervisor, patterns, missing)
    fleet = Fleet(hypervisor, parallel, timeout)
    try:
        found = fleet.each(meant.domains, partial(_read, names=names))
    finally:
        fleet.close()
    # Of all VMs there are, one that has just gone away is none.
    may_go = missing == "skip" or patterns is None
    read = [VmInfo(domain, facts, may_go and _is_gone(facts)) for domain, facts in zip(meant.domains, found)]
    return [*read, *(VmInfo(DomainId(name, ""), vm_gone(name), True) for name in meant.missing)]


def _meant(hypervisor: Hypervisor, patterns: Sequence[str] | None, missing: str) -> Selection:
    if patterns is not None and not patterns:
        return Selection(())
    domains = hypervisor.domains()
    return Selection(tuple(domains)) if patterns is None else select(domains, patterns, missing)


def _is_gone(facts: VmFacts | KvmError) -> bool:
    return isinstance(facts, KvmError) and facts.error_code == "vm_not_found"


def _read(hypervisor: Hypervisor, domain: DomainId, names: Sequence[str] | None) -> VmFacts:
    vm = hypervisor.inspect(domain)
    chosen = tuple(one for one in vm.snapshots if names is None or name_matches(one.name, names))
    return VmFacts(vm, chosen, hypervisor.storage(vm))
