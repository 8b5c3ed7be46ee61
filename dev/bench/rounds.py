# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every variant once a round, so that the machine's noise hits all alike; the order turns from round to round.

Within a round chains grow, and each variant is the first, the second … in turn. Between rounds the fleet is put back. What is
compared with a bare script begins with VMs that have no snapshot, and once more with many.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Callable

from .playbook import Playbooks
from .remote import FLEET_SIZE, Remote

OWN_WORK = ("module", "bare")
DEEP = 10  # snapshots of each VM when the information is read for the second time


@dataclass
class Samples:
    """What was measured, by name: seconds, and for gaps milliseconds."""

    values: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def add(self, name: str, value: float) -> None:
        self.values[name].append(value)
        print(f"  {name:<24}{value:>9.2f}", flush=True)


def fleet_rounds(remote: Remote, playbooks: Playbooks, rounds: int, samples: Samples) -> None:
    """Take the fleet's snapshots in every way, and read them at the depths 1 and 10."""
    variants = _variants(playbooks)
    playbooks.seconds("ping")  # opens the connection that all others use
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}, seconds", flush=True)
        samples.add("task ping", playbooks.seconds("ping"))
        for how in turned(OWN_WORK, number):
            samples.add(f"inside {how}", remote.seconds(how, f"round{number}-{how}"))
            remote.ask("measure", "restore")
        for done, name in enumerate(turned(list(variants), number), start=1):
            samples.add(name, variants[name](f"round{number}-{done}"))
            if done == 1:
                _read(remote, playbooks, done, samples)
        for more in range(done, DEEP):
            remote.ask("measure", "bare", f"round{number}-more{more}")
        _read(remote, playbooks, DEEP, samples)
        for how in turned(OWN_WORK, number):
            samples.add(f"inside {how} {DEEP}", remote.seconds(how, f"round{number}-deep-{how}"))
        remote.ask("measure", "restore")


def _variants(playbooks: Playbooks) -> dict[str, Callable[[str], float]]:
    return {
        "task vm_snapshot": lambda name: playbooks.seconds("module", name),
        "task shell": lambda name: playbooks.seconds("shell", name),
        "task loop": lambda name: playbooks.seconds("loop", name),
    }


def turned(names: Sequence[str], number: int) -> list[str]:
    turn = number % len(names)
    return [*names[turn:], *names[:turn]]


def _read(remote: Remote, playbooks: Playbooks, depth: int, samples: Samples) -> None:
    answer = remote.ask("measure", "info")
    if answer["snapshots"] != [depth] * FLEET_SIZE:
        raise SystemExit(
            f"not {depth} snapshots of each VM, but {answer['snapshots']}: is the host used by others, too?"
        )
    samples.add(f"inside info {depth}", float(answer["seconds"]))
    samples.add(f"task info {depth}", playbooks.seconds("info"))


def freeze_rounds(remote: Remote, rounds: int, samples: Samples) -> None:
    """The longest gap that the guest's writer saw, with and without a snapshot."""
    hows = ("usual", "module", "virsh")
    remote.ask("freeze", "start")
    try:
        for number in range(rounds):
            print(f"freeze {number + 1} of {rounds}, milliseconds", flush=True)
            for how in turned(hows, number):
                samples.add(f"gap {how}", float(remote.ask("freeze", how, f"freeze{number}-{how}")["gap_ms"]))
    finally:
        remote.ask("freeze", "end")
