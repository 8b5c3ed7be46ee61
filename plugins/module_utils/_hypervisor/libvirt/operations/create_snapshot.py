# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Having libvirt take a snapshot, for no longer than it may take."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Callable

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.connection import (
    open_connection,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.libraries import libvirt
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.libvirt_errors import (
    from_libvirt,
    translated,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.pool_volumes import (
    read_domain,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.snapshot_xml import to_xml
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.refusals import changed_meanwhile
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.devices import Disk, disks
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.taking.memory import memory_timeout
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.deadline import Deadline
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.plan import SnapshotPlan

_DISK_ONLY, _REUSE_EXT, _ATOMIC, _LIVE = 16, 32, 128, 256  # virDomainSnapshotCreateFlags
_ABORT_AGAIN = 0.1  # seconds


def create_snapshot(
    domain: Any, uri: str, plan: SnapshotPlan, before: Mapping[str, Disk], deadline: Deadline, *, made: bool
) -> Any:
    """Let libvirt switch every disk to its overlay in one transaction; with memory, save that first.

    ``before`` are all disks of the VM, by target, as they were planned; ``made`` says that overlays of those are there already.
    Raises ``busy`` where these would not fit any more.
    """
    name, memory = plan.vm.name, plan.request.include_memory
    if made:
        _require_still(domain, name, before)
    flags = _ATOMIC
    flags |= _REUSE_EXT if made else 0
    flags |= _LIVE if memory and plan.vm.power == "running" else 0
    flags |= 0 if memory else _DISK_ONLY
    aborted = threading.Event()

    def abort(finished: threading.Event) -> None:
        aborted.set()
        again = open_connection(uri).lookupByUUIDString(domain.UUIDString())
        while not finished.wait(_ABORT_AGAIN):
            with suppress(libvirt.libvirtError):  # the job has not begun yet, or has just ended by itself
                again.abortJob()

    with alarm(deadline.remaining() if memory else None, abort):
        try:
            return domain.snapshotCreateXML(to_xml(plan, [*before]), flags)
        except libvirt.libvirtError as error:
            if aborted.is_set():
                raise memory_timeout(name, deadline.seconds) from error
            raise from_libvirt(error, name, "taking the snapshot") from error


def _require_still(domain: Any, name: str, before: Mapping[str, Disk]) -> None:
    """Raise ``busy`` where a disk is not on what its overlay was made on: libvirt never compares the two (12.8)."""
    now = {target: disk.source for target, disk in disks_now(domain, name).items()}
    if any(now.get(target) != disk.source for target, disk in before.items()):
        raise changed_meanwhile(name)


def disks_now(domain: Any, name: str) -> dict[str, Disk]:
    """Return a VM's disks, by target, as libvirt has them at this moment."""
    with translated(name, "reading the disks"):
        return {disk.target: disk for disk in disks(read_domain(domain))}


@contextmanager
def alarm(seconds: float | None, ring: Callable[[threading.Event], None]) -> Iterator[None]:
    """Call ``ring`` in a thread of its own when the block takes longer than ``seconds``; never for None.

    It is given an event that tells when the block has ended.
    """
    if seconds is None:
        yield
        return
    finished = threading.Event()
    timer = threading.Timer(seconds, ring, args=(finished,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        finished.set()
