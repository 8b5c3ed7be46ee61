# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on the hypervisor beside the collection's module_utils; prints one JSON object.

measure.py module NAME     seconds that vm_snapshot's own work takes for the fleet
measure.py bare NAME       the same by libvirt-python in four threads and nothing else
measure.py info            seconds that vm_snapshot_info's own work takes for the fleet, and how many snapshots it found
measure.py restore         the fleet as before its first snapshot, running on

Imports are done before the clock starts, for all alike.
"""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import libvirt

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor import open as _arguments
from ansible_collections.limiquantix.kvm.plugins.module_utils._task import outcome as _outcome
from ansible_collections.limiquantix.kvm.plugins.module_utils._task import run as _task
from ansible_collections.limiquantix.kvm.plugins.module_utils._task import take as _present
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.info import read_vms as _gather
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.info import result as _result
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.request import SnapshotRequest

URI = "qemu:///system"
FLEET = "tiny*"
IMAGES = Path("/var/lib/libvirt/images")
RECORDS = Path("/var/lib/limiquantix-kvm")
THREADS = 4
PARAMS = {"backend": "libvirt", "uri": URI, "parallel": THREADS, "timeout": 600}
CREATE = libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY | libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_ATOMIC
SNAPSHOT = """
<domainsnapshot>
  <name>{name}</name>
  <disks>
    <disk name='vda' snapshot='external' type='file'>
      <driver type='qcow2'/>
      <source file='{overlay}'/>
    </disk>
  </disks>
</domainsnapshot>"""


def take(patterns: str, request: SnapshotRequest) -> dict[str, Any]:
    """What vm_snapshot does between Ansible handing over and taking back."""
    with _arguments.open_hypervisor(PARAMS) as hypervisor:
        vms = _task.run(hypervisor, [patterns], _present.Present(request), _task.Limits(THREADS), check_mode=False)
    wording = _outcome.Wording(f"snapshot {request.name!r}", "taken", request.disk_only)
    result = _outcome.outcome(wording, vms, check_mode=False)
    if "failed" in result:
        raise SystemExit(result["msg"])
    return result


def module(name: str) -> dict[str, Any]:
    started = time.perf_counter()
    take(FLEET, SnapshotRequest(name=name))
    return {"seconds": time.perf_counter() - started}


def bare(name: str) -> dict[str, Any]:
    started = time.perf_counter()
    connection = libvirt.open(URI)
    names = [domain.name() for domain in connection.listAllDomains() if domain.name().startswith("tiny")]

    def one(own: Any, vm: str) -> None:
        xml = SNAPSHOT.format(name=name, overlay=IMAGES / f"{vm}.{name}")
        own.lookupByName(vm).snapshotCreateXML(xml, CREATE)

    in_threads(connection, names, one)
    return {"seconds": time.perf_counter() - started}


def in_threads(first: Any, names: list[str], work: Callable[[Any, str], None]) -> None:
    """Work on every VM, four at once, each thread with a connection of its own."""
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    failures: list[Exception] = []
    for name in names:
        waiting.put(name)

    def run(connection: Any) -> None:
        try:
            while True:
                work(connection, waiting.get_nowait())
        except queue.Empty:
            connection.close()
        except (libvirt.libvirtError, subprocess.CalledProcessError, OSError) as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(first,))]
    threads += [threading.Thread(target=lambda: run(libvirt.open(URI))) for _more in range(THREADS - 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def info() -> dict[str, Any]:
    started = time.perf_counter()
    with _arguments.open_hypervisor(PARAMS) as hypervisor:
        vms = _gather.gather(hypervisor, [FLEET], None, THREADS, 600)
    result = _result.result(vms)
    seconds = time.perf_counter() - started
    if "failed" in result:
        raise SystemExit(result["msg"])
    return {"seconds": seconds, "snapshots": [len(vm["snapshots"]) for vm in result["vms"]]}


def restore() -> dict[str, Any]:
    connection = libvirt.open(URI)
    names = [domain.name() for domain in connection.listAllDomains() if domain.name().startswith("tiny")]
    in_threads(connection, names, restore_one)
    return {}


def restore_one(connection: Any, vm: str) -> None:
    """Merge every overlay into the first image, and forget the snapshots."""
    domain = connection.lookupByName(vm)
    if domain.listAllSnapshots():
        domain.blockCommit("vda", None, None, 0, libvirt.VIR_DOMAIN_BLOCK_COMMIT_ACTIVE)
        pivot(domain)
    for snapshot in domain.listAllSnapshots():
        snapshot.delete(libvirt.VIR_DOMAIN_SNAPSHOT_DELETE_METADATA_ONLY)
    overlays = [file for file in IMAGES.glob(f"{vm}.*") if file.name != f"{vm}.qcow2"]
    for file in (*overlays, *RECORDS.glob(f"{domain.UUIDString()}.*")):
        file.unlink()


def pivot(domain: Any) -> None:
    """As soon as the merge has caught up; only trying tells (the numbers of a job are equal before it is ready, too)."""
    deadline = time.monotonic() + 30
    while True:
        try:
            domain.blockJobAbort("vda", libvirt.VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT)
            return
        except libvirt.libvirtError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


ACTIONS: dict[str, Callable[..., dict[str, Any]]] = {
    "module": module,
    "bare": bare,
    "info": info,
    "restore": restore,
}

if __name__ == "__main__":
    libvirt.registerErrorHandler(lambda *_: None, None)
    _arguments.open_hypervisor(PARAMS).close()  # imports the backend
    print(json.dumps(ACTIONS[sys.argv[1]](*sys.argv[2:])))
