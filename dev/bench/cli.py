# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`make bench`: how fast the modules are, side by side with what people write without them. It judges no number.

A host that is not up is started, and the lab taken down again if nothing of it ran before.
"""

from __future__ import annotations

import argparse
import datetime
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Optional

from lab.api import Host, all_hosts, hosts
from lab.host_table import FLEET, HOSTS

from .agent import Roles, agent_rounds, can_build, snapshot_rounds
from .controller import METHOD as CONTROLLER_METHOD
from .controller import QUICK_SIZES, SIZES, controller_block, controller_rounds
from .crowd import CROWD_BLOCK, FULL, QUICK, crowd_rounds
from .crowd import METHOD as CROWD_METHOD
from .life import life_rounds
from .playbook import Playbooks
from .remote import FLEET_SIZE, ROOT, Remote, uploaded, with_fleet
from .report import AGENT_BLOCK, LIFE_BLOCK, Block, rst, terminal, write_guide
from .rounds import Samples, fleet_rounds, freeze_rounds

NUMBERS = ROOT / "docs" / "docsite" / "rst" / "guide_numbers.rst"
LAB = ROOT / "dev" / "lab" / "lab"
ROUNDS, FREEZES = 5, 9
QUICK_ROUNDS, QUICK_FREEZES = 2, 2
CONTROLLER_ROUNDS = 1  # each number is a mean over that many hosts already


def method(freezes: int, pipelining: bool) -> str:
    """Return how it was measured, as the guide tells it."""
    return (
        "A task is the whole `ansible-playbook` command, without facts, over an open SSH connection, "
        f"pipelining {switched(pipelining)} for all. Own work and bare script run on the host; opening connections "
        "counts, imports do not; both begin with VMs that have no snapshot, and once more with ten of each. Tasks take turns "
        "within a round, in an order that changes, and the fleet's snapshots are removed between rounds. The gap is the longest "
        "that a guest's program saw which writes without pause; "
        f"{freezes} snapshots each way."
    )


def switched(pipelining: bool) -> str:
    return "on" if pipelining else "off (Ansible's default)"


LIFE_METHOD = (
    "Own work on the host, without Ansible's: opening connections counts, imports do not. Each variant works on a VM made "
    "for it, whose files were written out to the disk before; variants take turns. Seconds taken off are what `vm_snapshot` "
    "takes longer than the bare commands where nothing was written: journal, checks of every layer, libvirt's notes. Trees "
    "have branches of nine, and their VM is off."
)

AGENT_METHOD = (
    "A task is the whole `ansible-playbook` command, without facts, over open SSH connections, pipelining {}. "
    "The time without the API is the longest between two good answers to a program on the host that asks without pause, one "
    "value a host and upgrade. Snapshots are asked for from the controller, over HTTP; every way looks the VMs' ids up first; "
    "connections count in own work, imports do not; variants take turns. "
    "`vm_snapshot` looks at what is there, before and after; the loops do not."
)


@contextmanager
def running(name: str) -> Iterator[Host]:
    """Give the host, started where it is not up."""
    none_ran = not hosts()
    try:
        found = _up(name)
        if found is None:
            subprocess.run([LAB, "up", "--only", name], check=True)
            found = _up(name)
        if found is None:
            raise SystemExit(f"{name} is not up")
        yield found
    finally:
        if none_ran:
            subprocess.run([LAB, "down"], check=True)


def _up(name: str) -> Optional[Host]:
    return next((host for host in hosts() if host.name == name), None)


def setting(host: Host, rounds: int, work: str = f"{FLEET_SIZE} running VMs") -> str:
    """Return what was measured on."""
    return (
        f"{datetime.date.today()}, {work} on {host.name}: libvirt {host.libvirt_version}, "
        f"QEMU {host.qemu_version}, Python {host.python_version}, {_ansible()}; median of {rounds}."
    )


def _ansible() -> str:
    return subprocess.run(["ansible", "--version"], check=True, capture_output=True, text=True).stdout.split("\n")[0]


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="dev/bench/run", description="Measure the collection on a host of the lab.")
    parser.add_argument("--host", default="hv-trixie", choices=[spec.name for spec in FLEET])
    parser.add_argument("--quick", action="store_true", help="two rounds, to see whether it works")
    parser.add_argument(
        "--only",
        default="all",
        choices=["all", "fleet", "life", "crowd", "agent", "controller"],
        help="taking and reading, removing and reverting, many VMs on one host, the agent and its role, or many hosts",
    )
    parser.add_argument(
        "--agents",
        nargs="+",
        metavar="HOST",
        choices=[spec.name for spec in HOSTS],
        help="the hosts that the agent's role is measured on, if not the three of the fleet",
    )
    parser.add_argument("--pipelining", action="store_true", help="switch Ansible's pipelining on, for every task")
    parser.add_argument("--guide", action="store_true", help="write the numbers into guide_numbers.rst")
    return parser.parse_args()


def end(number: int, _frame: Optional[FrameType]) -> None:
    raise SystemExit(128 + number)


def main() -> int:
    """Measure, and tell."""
    chosen = options()
    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGHUP, end)
    parts = {"fleet": fleet, "life": life, "crowd": crowd, "agent": agent}
    if chosen.only != "controller":
        with running(chosen.host) as host, uploaded(host) as remote:
            for name, part in parts.items():
                if chosen.only in ("all", name):
                    part(chosen, remote)
    if chosen.only in ("all", "controller"):
        controller(chosen)
    return 0


def fleet(chosen: argparse.Namespace, remote: Remote) -> None:
    """Taking snapshots of many VMs, and reading them."""
    rounds, freezes = (QUICK_ROUNDS, QUICK_FREEZES) if chosen.quick else (ROUNDS, FREEZES)
    samples = Samples()
    with tempfile.TemporaryDirectory(prefix="limiquantix-kvm-bench-") as folder:
        playbooks = Playbooks(Path(folder), remote.host.name, chosen.pipelining)
        playbooks.write()
        with with_fleet(remote):
            fleet_rounds(remote, playbooks, rounds, samples)
            freeze_rounds(remote, freezes, samples)
    where = setting(remote.host, rounds)
    print(terminal(samples.values, where))
    print(f"\n{method(freezes, chosen.pipelining).replace('`', '')}")
    if chosen.guide:
        write_guide(NUMBERS, rst(samples.values, where, method(freezes, chosen.pipelining)))


def life(chosen: argparse.Namespace, remote: Remote) -> None:
    """Removing and reverting."""
    rounds = QUICK_ROUNDS if chosen.quick else ROUNDS
    samples = Samples()
    life_rounds(remote, rounds, samples)
    tell(chosen, LIFE_BLOCK, samples, setting(remote.host, rounds, "one VM"), LIFE_METHOD)


def crowd(chosen: argparse.Namespace, remote: Remote) -> None:
    """Many VMs on one host."""
    rounds, size = (QUICK_ROUNDS, QUICK) if chosen.quick else (ROUNDS, FULL)
    samples = Samples()
    crowd_rounds(remote, rounds, size, samples)
    tell(chosen, CROWD_BLOCK, samples, setting(remote.host, rounds, str(size)), CROWD_METHOD)


def agent(chosen: argparse.Namespace, remote: Remote) -> None:
    """The agent's role, and snapshots through the agent."""
    if not can_build():
        print("no cargo: nothing of the agent is measured")
        return
    rounds = QUICK_ROUNDS if chosen.quick else ROUNDS
    samples = Samples()
    on = [host for host in all_hosts() if host.name in chosen.agents] if chosen.agents else hosts()
    with tempfile.TemporaryDirectory(prefix="limiquantix-kvm-bench-") as folder:
        agent_rounds(Roles(Path(folder), on, chosen.pipelining), rounds, samples)
        with with_fleet(remote):
            snapshot_rounds(Roles(Path(folder), [remote.host], chosen.pipelining), remote, rounds, samples)
    names = ", ".join(host.name for host in on)
    where = setting(remote.host, rounds, f"the role on {names}, {FLEET_SIZE} running VMs")
    tell(chosen, AGENT_BLOCK, samples, where, AGENT_METHOD.format(switched(chosen.pipelining)))


def controller(chosen: argparse.Namespace) -> None:
    """What a fleet costs the controller. The hosts are simulated: no lab."""
    rounds, sizes = (QUICK_ROUNDS, QUICK_SIZES) if chosen.quick else (CONTROLLER_ROUNDS, SIZES)
    samples = Samples()
    with tempfile.TemporaryDirectory(prefix="limiquantix-kvm-bench-") as folder:
        controller_rounds(Path(folder), sizes, rounds, samples)
    fleets = ", ".join(map(str, sizes))
    where = (
        f"{datetime.date.today()}, fleets of {fleets} simulated hosts on this machine, {_ansible()}; {rounds} of each."
    )
    tell(chosen, controller_block(sizes), samples, where, CONTROLLER_METHOD)


def tell(chosen: argparse.Namespace, block: Block, samples: Samples, where: str, how: str) -> None:
    """Print a part's numbers, and put them into the guide where that is wanted."""
    print(block.terminal(samples.values, where))
    print(f"\n{how.replace('`', '')}")
    if chosen.guide:
        write_guide(NUMBERS, block.rst(samples.values, where, how), block.marker)
