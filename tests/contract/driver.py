# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs where the hypervisor is, under that host's own Python, and does what a test asks: a JSON line each way.

`ansible` would take two seconds a step. What is left out of the path is the module's argument parsing only.
"""

from __future__ import annotations

import json
import sys
from contextlib import AbstractContextManager
from typing import Any, Callable

from ansible_collections.limiquantix.kvm.plugins.module_utils._arguments import open_hypervisor
from ansible_collections.limiquantix.kvm.plugins.module_utils._deadline import Deadline
from ansible_collections.limiquantix.kvm.plugins.module_utils._errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor import Hypervisor
from ansible_collections.limiquantix.kvm.plugins.module_utils._info import gather
from ansible_collections.limiquantix.kvm.plugins.module_utils._info import result as info_result
from ansible_collections.limiquantix.kvm.plugins.module_utils._outcome import outcome
from ansible_collections.limiquantix.kvm.plugins.module_utils._present import Limits, present
from ansible_collections.limiquantix.kvm.plugins.module_utils._snapshot import DomainId, SnapshotRequest

_HELD: list[tuple[Hypervisor, AbstractContextManager[None]]] = []


def snapshot(
    where: dict[str, Any],
    vms: list[str],
    check: bool,
    *,
    parallel: int = 4,
    timeout: int = 600,
    running_only: bool = False,
    **request: Any,
) -> dict[str, Any]:
    """Do what vm_snapshot does, and return what it would."""
    if request.get("disks") is not None:
        request["disks"] = tuple(request["disks"])
    wish = SnapshotRequest(**request)
    params = {**where, "parallel": parallel, "timeout": timeout, "quiesce_timeout": wish.quiesce_timeout}
    with open_hypervisor(params) as hypervisor:
        done = present(hypervisor, vms, wish, Limits(parallel, timeout, running_only), check)
    return outcome(wish, done, check)


def info(where: dict[str, Any], vms: list[str]) -> dict[str, Any]:
    """Do what vm_snapshot_info does."""
    with open_hypervisor({**where, "parallel": 4, "timeout": 60}) as hypervisor:
        return info_result(gather(hypervisor, vms, None, 4, 60))


def hold(where: dict[str, Any], vm: str) -> dict[str, Any]:
    """Take a VM's lock, as another run would, and keep it."""
    hypervisor = open_hypervisor({**where, "parallel": 1, "timeout": 1})
    lock = hypervisor.lock(_named(hypervisor, vm), Deadline(1))
    lock.__enter__()
    _HELD.append((hypervisor, lock))
    return {}


def _named(hypervisor: Hypervisor, vm: str) -> DomainId:
    return next(domain for domain in hypervisor.domains() if domain.name == vm)


def main() -> None:
    """Answer until the end of the input."""
    calls: dict[str, Callable[..., dict[str, Any]]] = {"snapshot": snapshot, "info": info, "hold": hold}
    for line in sys.stdin:
        call = json.loads(line)
        try:
            answer = calls[call.pop("call")](**call)
        except KvmError as error:
            answer = {"changed": False, "failed": True, "vms": [], **error.to_failure()}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
