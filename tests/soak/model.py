# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a VM and its snapshots must hold, whatever was done to them: the model, its rules, and looking after each."""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass
from random import Random
from typing import Any

from contract.world import Driver

Content = dict[str, list[int]]
MOST_SNAPSHOTS = 7
REGIONS = 3
_POWER = ("restore", "restore", "running", "shutoff")
DISKS = {"one": {"vda": "qcow2"}, "raw": {"vda": "raw"}, "two": {"vda": "qcow2", "vdb": "raw"}}
_TAKES = ("take", "take_by_virsh")
_OF_SNAPSHOTS = ("revert", "remove", "remove_subtree")
# SOAK_WITHOUT=step,step: what a lab that others use cannot have, or what is known to fail.
LEFT_OUT = os.environ.get("SOAK_WITHOUT", "").split(",")
# As often as they stand here.
_WORK = [
    *(4 * ["write"]),
    *(4 * ["take"]),
    *(2 * ["take_by_virsh"]),
    *(4 * ["revert"]),
    *(3 * ["remove"]),
    "remove_subtree",
    *(2 * ["switch_power"]),
    "restart_libvirtd",
]
_WORK = [step for step in _WORK if step not in LEFT_OUT]


@dataclass(frozen=True)
class Choice:
    """What a step may need to be chosen: which disk or snapshot, where and what to write, the power after a revert."""

    any: int
    region: int
    pattern: int
    power: str


def choice_of(chance: Random) -> Choice:
    """Return what chance chose.

    Not hypothesis: of one example a run, which is all that real hypervisors have time for, 6.1xx makes the simplest there is,
    whatever the seed: 24 times the first kind of step.
    """
    return Choice(chance.randrange(101), chance.randrange(REGIONS), chance.randint(1, 255), chance.choice(_POWER))


class SnapshotsOfOneVm:
    """Random work on one VM."""

    vm = "soak"

    def __init__(self, driver: Driver, chance: Random) -> None:
        self.driver = driver
        self.chance = chance
        self.story: list[str] = []
        self.present: Content = {}
        self.snapshots: dict[str, Content] = {}
        self.running = False
        self.count = 0

    def ask(self, call: str, **arguments: Any) -> dict[str, Any]:
        self.driver.send(call, **arguments)
        answer = self.driver.answer()
        assert "broken" not in answer, answer["broken"]
        return answer

    def module(self, **options: Any) -> dict[str, Any]:
        result = self.ask("module", **options)
        assert not result.get("failed"), result
        return result

    def fresh(self) -> None:
        disks = self.chance.choice(sorted(DISKS))
        self.story.append(f"fresh: {disks}")
        self.ask("reset", vm=self.vm, formats=DISKS[disks])
        self.present = {target: [0] * REGIONS for target in DISKS[disks]}
        self.all_is_as_it_must_be()

    def step(self) -> str:
        """Do one thing, look after it, and tell what it was."""
        work, choice = self.chance.choice(_WORK), choice_of(self.chance)
        if work in _OF_SNAPSHOTS and not self.snapshots:
            work = "take"
        if work in _TAKES and len(self.snapshots) == MOST_SNAPSHOTS:
            work = "remove"
        self.story.append(f"{work} {choice}")
        getattr(self, work)(choice)
        self.all_is_as_it_must_be()
        return work

    def write(self, choice: Choice) -> None:
        target, region, pattern = sorted(self.present)[choice.any % len(self.present)], choice.region, choice.pattern
        self.ask("write", vm=self.vm, target=target, region=region, pattern=pattern)
        self.present[target][region] = pattern

    def take(self, _choice: Choice) -> None:
        name = self._new_name("ours")
        self.module(name=name)
        self._taken(name)

    def take_by_virsh(self, _choice: Choice) -> None:
        name = self._new_name("virsh")
        self.ask("virsh_take", vm=self.vm, name=name)
        self._taken(name)

    def revert(self, choice: Choice) -> None:
        name, power = self._pick(choice.any), choice.power
        self.module(name=name, state="reverted", power=power)
        self.present = copy.deepcopy(self.snapshots[name])
        self.running = self.running if power == "restore" else power == "running"

    def remove(self, choice: Choice) -> None:
        name = self._pick(choice.any)
        self.module(name=name, state="absent")
        del self.snapshots[name]

    def remove_subtree(self, choice: Choice) -> None:
        name = self._pick(choice.any)
        result = self.module(name=name, state="absent", children=True)
        for gone in result["vms"][0]["removed"]:
            del self.snapshots[gone]

    def switch_power(self, _choice: Choice) -> None:
        self.running = not self.running
        self.ask("power", vm=self.vm, on=self.running)

    def restart_libvirtd(self, _choice: Choice) -> None:
        self.ask("restart_libvirtd")

    def all_is_as_it_must_be(self) -> None:
        seen = self.ask("look", vm=self.vm)
        assert seen["present"] == self.present, ("the present", seen, self.present)
        assert seen["snapshots"] == self.snapshots, ("the snapshots", seen, self.snapshots)
        assert seen["state"] == ("running" if self.running else "shut off"), seen
        assert not seen["orphans"], seen
        assert not seen["missing"], seen
        assert not seen["problems"], seen
        info = seen["info"]
        trouble = [info[key] for key in ("problems", "unknown_overlays", "missing_files", "operation", "failed")]
        assert not any(trouble), seen
        if seen["current"]:
            self._virsh_deletes_the_right_files(seen)

    def _virsh_deletes_the_right_files(self, seen: dict[str, Any]) -> None:
        """What `snapshot-revert` of a libvirt that can would delete is what the VM is on, and nothing that is needed."""

    def teardown(self) -> None:
        self.ask("remove", vm=self.vm)

    def _new_name(self, who: str) -> str:
        self.count += 1
        return f"{who}{self.count}"

    def _taken(self, name: str) -> None:
        self.snapshots[name] = copy.deepcopy(self.present)

    def _pick(self, index: int) -> str:
        return sorted(self.snapshots)[index % len(self.snapshots)]


class WithNativeRevert(SnapshotsOfOneVm):
    """On a libvirt that reverts by itself, the current snapshot must name the overlays the VM is on."""

    def _virsh_deletes_the_right_files(self, seen: dict[str, Any]) -> None:
        assert seen["current_disks"] == seen["tops"], seen
