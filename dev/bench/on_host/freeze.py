# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long the programs of a guest stood still: runs on the hypervisor, prints one JSON object.

freeze.py start            a guest of our own, like web01
freeze.py end              removes it
freeze.py usual            the writer's longest gap while nothing is done
freeze.py module NAME      around a quiesced snapshot by vm_snapshot
freeze.py virsh NAME       around the same by virsh
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable

import booted  # the lab's own, which make its guests
import libvirt
import provision
from bench.on_host.measure import URI, take
from domains import Disk, Vm

from ansible_collections.limiquantix.kvm.plugins.module_utils._values.request import SnapshotRequest

VM = Vm("bench01", (Disk("vda", kind="guest"),), guest=True, agent=True, memory_mib=192, pause_ms=8)
LINE = re.compile(r"longest_gap_ms=([\d.]+)\r?\n")
SECONDS_FOR_A_LINE = 30


def start() -> None:
    connection = libvirt.open(URI)
    end()
    provision.ensure(connection, VM)
    booted.wait_ready(connection, VM)


def end() -> None:
    provision.remove(libvirt.open(URI), VM.name)
    VM.log.unlink(missing_ok=True)


def gaps() -> list[float]:
    return [float(gap) for gap in LINE.findall(VM.log.read_text(errors="replace"))]


def wait_for(count: int) -> None:
    deadline = time.monotonic() + SECONDS_FOR_A_LINE
    while len(gaps()) < count:
        if time.monotonic() > deadline:
            raise SystemExit(f"the writer of {VM.name} has stopped; see {VM.log}")
        time.sleep(0.01)


def longest_gap(action: Callable[[], None]) -> float:
    """Begin just after a line, so that as much as can be is in the next; a gap may still reach into a second one."""
    wait_for(len(gaps()) + 1)
    before = len(gaps())
    action()
    wait_for(len(gaps()) + 2)
    return max(gaps()[before:])


def module(name: str) -> None:
    result = take(VM.name, SnapshotRequest(name=name, quiesce="required"))
    if not result["vms"][0]["quiesced"]:
        raise SystemExit(result["msg"])


def virsh(name: str) -> None:
    options = ["--disk-only", "--atomic", "--quiesce"]
    subprocess.run(
        ["virsh", "-q", "-c", URI, "snapshot-create-as", VM.name, name, *options], check=True, capture_output=True
    )


def main(how: str, name: str = "") -> None:
    around = {"usual": lambda: None, "module": lambda: module(name), "virsh": lambda: virsh(name)}
    if how in around:
        print(json.dumps({"gap_ms": longest_gap(around[how])}))
    else:
        {"start": start, "end": end}[how]()
        print("{}")


if __name__ == "__main__":
    libvirt.registerErrorHandler(lambda *_: None, None)
    main(*sys.argv[1:])
