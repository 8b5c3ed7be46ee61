# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`make table`: what works on which libvirt, tried on every host of the lab and written into the guide."""

from __future__ import annotations

import argparse
import datetime
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from bench.remote import ROOT
from bench.report import rst_table, write_guide
from lab.api import Host, all_hosts
from soak.one_vm import OneVm, working_on

from .operations import OPERATIONS, OURS, VIRSH, Operation, Seen, tried

HYPERVISORS = ROOT / "docs" / "docsite" / "rst" / "guide_hypervisors.rst"
TOOLS = (VIRSH, OURS)
Results = Mapping[tuple[str, str], Seen]  # by operation and tool


def on_host(host: Host, chosen: Sequence[Operation]) -> Results:
    """Try all operations by both."""
    found = {}
    with working_on(host) as driver:
        vm = OneVm(driver, "table")
        try:
            for operation in chosen:
                for tool in TOOLS:
                    seen = found[operation.what, tool] = tried(vm, operation, tool)
                    print(f"{column(host):<16}{tool:<12}{operation.what:<45}{seen.word} {seen.reason}", flush=True)
        finally:
            vm.remove()
    return found


def rst(results: Mapping[str, Results], chosen: Sequence[Operation]) -> str:
    """Return the table, a column for each tool and version, and what is to be said of its cells."""
    columns = [(tool, where) for tool in TOOLS for where in results]
    notes: list[str] = []
    heads = ["", *(f"`{tool}` {where}" for tool, where in columns)]
    rows = [
        [operation.what, *(_cell(results[where][operation.what, tool], notes) for tool, where in columns)]
        for operation in chosen
    ]
    lines = [rst_table(heads, rows), "", *(f"{number}. {note}" for number, note in enumerate(notes, 1))]
    return "\n".join([*lines, "", f"Seen on {datetime.date.today()}, with `make table`."])


def _cell(seen: Seen, notes: list[str]) -> str:
    word = seen.word if seen.word == "yes" else f"**{seen.word}**"
    if not seen.reason:
        return word
    if seen.reason not in notes:
        notes.append(seen.reason)
    return f"{word} ({notes.index(seen.reason) + 1})"


def tried_on() -> list[Host]:
    """All hypervisors that snapshots are for, as containers and as machines, the oldest first."""
    found = [host for host in all_hosts() if host.spec.snapshots or host.spec.metal]
    return sorted(found, key=lambda host: (host.spec.metal, [int(part) for part in host.libvirt_version.split(".")]))


def column(host: Host) -> str:
    """Return what a host's column is called: machines are stock Debians, whose AppArmor confines VMs."""
    return host.libvirt_version.rpartition(".")[0] + (", AppArmor" if host.spec.metal else "")


def main() -> int:
    """Try, and tell; a thing that our module does not do ends with status 1."""
    parser = argparse.ArgumentParser(prog="dev/table/run", description="See what works on which libvirt.")
    parser.add_argument("--guide", action="store_true", help="write the table into guide_hypervisors.rst")
    parser.add_argument("--only", default="", help="the operations whose name has this")
    chosen = parser.parse_args()
    operations = [one for one in OPERATIONS if chosen.only in one.what]
    if not tried_on():
        subprocess.run([ROOT / "dev" / "lab" / "lab", "up"], check=True)
    fleet = tried_on()
    with ThreadPoolExecutor(len(fleet)) as pool:
        found = list(pool.map(lambda host: on_host(host, operations), fleet))
    results = {column(host): one for host, one in zip(fleet, found)}
    text = rst(results, operations)
    print(f"\n{text}")
    if chosen.guide:
        write_guide(HYPERVISORS, text, "table")
    # Without `apparmor: adjust` a machine's AppArmor forbids some of it.
    free = [one for host, one in zip(fleet, found) if not host.spec.metal]
    ours = [seen for one in free for (_what, tool), seen in one.items() if tool == OURS]
    return 0 if all(seen.word == "yes" for seen in ours) else 1
