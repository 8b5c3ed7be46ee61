# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on the hypervisor: removing and reverting, by the collection and by the bare commands; prints one JSON object.

life.py removal_running HOW MIB   seconds to remove a running VM's snapshot with so much in its overlay: module or virsh
life.py removal_off HOW MIB       the same of a VM that is off: module or bare
life.py revert_off HOW MIB        to revert a VM that is off, which throws so much away: module or bare
life.py tree COUNT ROUNDS         what info, revert and remove take with so many snapshots
life.py clear                     nothing of this is left

Each makes its VM anew before the clock starts. Imports are done before that, too.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Callable

import libvirt

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor import open as _arguments
from ansible_collections.limiquantix.kvm.plugins.module_utils._task import outcome as _outcome
from ansible_collections.limiquantix.kvm.plugins.module_utils._task import run as _task
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.action import Action
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.info import read_vms as _gather
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.info import result as _result
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.remove import Absent, named
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.revert import Reverted
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.take import Present
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.request import RevertRequest, SnapshotRequest

URI = "qemu:///system"
VM = "life"
FOLDER = Path("/var/lib/libvirt/images/life")
BASE = FOLDER / "vda.qcow2"
RECORDS = Path("/var/lib/limiquantix-kvm")
PARAMS = {"backend": "libvirt", "uri": URI, "parallel": 1, "timeout": 600}
SIZE, STEP = 4096, 64  # MiB: the disk, and what is written at once
BRANCH = 9  # snapshots above the first one, of each branch of the tree
DOMAIN = f"""
<domain type='qemu'>
  <name>{VM}</name>
  <memory unit='MiB'>16</memory>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <features><acpi/></features>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2'/>
      <source file='{BASE}'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <memballoon model='none'/>
  </devices>
</domain>"""


def run(*words: str) -> None:
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}: {done.stdout}{done.stderr}")


def virsh(*words: str) -> None:
    run("virsh", "-c", URI, *words)


def seconds(work: Callable[[], object]) -> dict[str, Any]:
    started = time.perf_counter()
    work()
    return {"seconds": time.perf_counter() - started}


def module(action: Action[Any, Any], which: str = VM, threads: int = 1) -> None:
    """What vm_snapshot does between Ansible handing over and taking back."""
    with _arguments.open_hypervisor({**PARAMS, "parallel": threads}) as hypervisor:
        vms = _task.run(hypervisor, [which], action, _task.Limits(threads), check_mode=False)
    result = _outcome.outcome(_outcome.Wording("it", "done"), vms, check_mode=False)
    if "failed" in result or not result["changed"]:
        raise SystemExit(result["msg"])


def take(name: str) -> None:
    module(Present(SnapshotRequest(name, quiesce="never")))


def revert(name: str) -> None:
    module(Reverted(RevertRequest(name)))


def remove(name: str) -> None:
    module(Absent(named(name, children=False)))


def clear() -> dict[str, Any]:
    connection = libvirt.open(URI)
    for domain in connection.listAllDomains():
        if domain.name() == VM:
            if domain.isActive():
                domain.destroy()
            for file in RECORDS.glob(f"{domain.UUIDString()}.*"):
                file.unlink()
            domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA)
    for file in own_files():
        file.unlink()
    with suppress(OSError):  # it is not there, or a crowd's files are in it
        FOLDER.rmdir()
    return {}


def own_files() -> list[Path]:
    """Return what is this VM's in the folder, where crowd.py's may be, too."""
    return [file for file in FOLDER.glob("*") if not file.name.startswith("crowd-")]


def fresh() -> None:
    clear()
    FOLDER.mkdir(exist_ok=True)
    run("qemu-img", "create", "-q", "-f", "qcow2", str(BASE), f"{SIZE}M")
    libvirt.open(URI).defineXML(DOMAIN)


def with_overlay(mib: str) -> Path:
    """Make the VM with a snapshot, and so much written since; return the overlay."""
    fresh()
    take("before")
    overlay = next(file for file in own_files() if file != BASE)
    writes = [word for at in range(0, int(mib), STEP) for word in ("-c", f"write -q -P 7 {at}M {STEP}M")]
    if writes:
        run("qemu-io", "-f", "qcow2", *writes, str(overlay))
    run("sync")
    return overlay


def removal_running(how: str, mib: str) -> dict[str, Any]:
    with_overlay(mib)
    virsh("start", VM)
    works = {
        "module": lambda: remove("before"),
        "virsh": lambda: virsh("blockcommit", VM, "vda", "--active", "--pivot"),
    }
    return seconds(works[how])


def removal_off(how: str, mib: str) -> dict[str, Any]:
    overlay = with_overlay(mib)

    def bare() -> None:
        run("qemu-img", "commit", "-d", "-f", "qcow2", str(overlay))
        overlay.unlink()

    return seconds({"module": lambda: remove("before"), "bare": bare}[how])


def revert_off(how: str, mib: str) -> dict[str, Any]:
    overlay = with_overlay(mib)
    if mib == "0":
        run("qemu-io", "-f", "qcow2", "-c", "write -q -P 7 0 64k", str(overlay))  # else there is nothing to revert

    def bare() -> None:
        options = ["-q", "-f", "qcow2", "-b", str(BASE), "-F", "qcow2"]
        run("qemu-img", "create", *options, str(FOLDER / "new.qcow2"))
        overlay.unlink()

    return seconds({"module": lambda: revert("before"), "bare": bare}[how])


def tree(count: str, rounds: str) -> dict[str, Any]:
    """A first snapshot with branches of nine; of each round one is reverted to, one removed, and one taken anew."""
    fresh()
    branches = (int(count) - 1) // BRANCH
    take("first")
    for branch in range(branches):
        if branch:
            revert("first")
        for number in range(BRANCH):
            take(f"b{branch}-{number}")
    measured: dict[str, list[float]] = {"info": [], "revert": [], "remove": []}
    for number in range(int(rounds)):
        branch = number % branches
        measured["info"].append(seconds(lambda: info(int(count)))["seconds"])
        target = f"b{branch}-{BRANCH - 2 - number % 2}"
        measured["revert"].append(seconds(lambda name=target: revert(name))["seconds"])  # type: ignore[misc]
        middle = f"b{branch}-{1 + number // branches}"
        measured["remove"].append(seconds(lambda name=middle: remove(name))["seconds"])  # type: ignore[misc]
        take(f"more{number}")
    return measured


def info(count: int) -> None:
    with _arguments.open_hypervisor(PARAMS) as hypervisor:
        vms = _gather.gather(hypervisor, [VM], None, 1, 600)
    result = _result.result(vms)
    if "failed" in result or len(result["vms"][0]["snapshots"]) != count:
        raise SystemExit(f"not {count} snapshots, or: {result['msg']}")


ACTIONS: dict[str, Callable[..., dict[str, Any]]] = {
    one.__name__: one for one in (removal_running, removal_off, revert_off, tree, clear)
}


def main(words: Sequence[str]) -> None:
    libvirt.registerErrorHandler(lambda *_: None, None)
    _arguments.open_hypervisor(PARAMS).close()  # imports the backend
    print(json.dumps(ACTIONS[words[0]](*words[1:])))


if __name__ == "__main__":
    main(sys.argv[1:])
