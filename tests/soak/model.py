# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a VM and its snapshots must hold, whatever was done to them: the model, its rules, and looking after each."""

from __future__ import annotations

import copy
from typing import Any, Callable

from contract.world import Driver
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

Content = dict[str, list[int]]
MOST_SNAPSHOTS = 7
REGIONS = 3
_DISKS = {"one": {"vda": "qcow2"}, "raw": {"vda": "raw"}, "two": {"vda": "qcow2", "vdb": "raw"}}
_INDEX = st.integers(0, MOST_SNAPSHOTS - 1)


class SnapshotsOfOneVm(RuleBasedStateMachine):
    """Random work on one VM; ``driver`` and ``steps`` are set by the test."""

    driver: Driver
    done: Callable[[], None]
    vm = "soak"

    def __init__(self) -> None:
        super().__init__()
        self.present: Content = {}
        self.snapshots: dict[str, Content] = {}
        self.parents: dict[str, str | None] = {}
        self.based_on: str | None = None
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

    @initialize(disks=st.sampled_from(sorted(_DISKS)))
    def fresh(self, disks: str) -> None:
        self.ask("reset", vm=self.vm, formats=_DISKS[disks])
        self.present = {target: [0] * REGIONS for target in _DISKS[disks]}

    @rule(disk=st.sampled_from(["vda", "vdb"]), region=st.integers(0, REGIONS - 1), pattern=st.integers(1, 255))
    def write(self, disk: str, region: int, pattern: int) -> None:
        target = disk if disk in self.present else "vda"
        self.ask("write", vm=self.vm, target=target, region=region, pattern=pattern)
        self.present[target][region] = pattern

    @precondition(lambda self: len(self.snapshots) < MOST_SNAPSHOTS)
    @rule()
    def take(self) -> None:
        name = self._new_name("ours")
        self.module(name=name)
        self._taken(name)

    @precondition(lambda self: len(self.snapshots) < MOST_SNAPSHOTS)
    @rule()
    def take_by_virsh(self) -> None:
        name = self._new_name("virsh")
        self.ask("virsh_take", vm=self.vm, name=name)
        self._taken(name)

    @precondition(lambda self: self.snapshots)
    @rule(index=_INDEX, power=st.sampled_from(["restore", "restore", "running", "shutoff"]))
    def revert(self, index: int, power: str) -> None:
        name = self._pick(index)
        self.module(name=name, state="reverted", power=power)
        self.present = copy.deepcopy(self.snapshots[name])
        self.based_on = name
        self.running = self.running if power == "restore" else power == "running"

    @precondition(lambda self: self.snapshots)
    @rule(index=_INDEX)
    def remove(self, index: int) -> None:
        name = self._pick(index)
        self.module(name=name, state="absent")
        self._forget(name)

    @precondition(lambda self: self.snapshots)
    @rule(index=_INDEX)
    def remove_subtree(self, index: int) -> None:
        name = self._pick(index)
        result = self.module(name=name, state="absent", children=True)
        for gone in result["vms"][0]["removed"]:
            self._forget(gone)

    @rule()
    def switch_power(self) -> None:
        self.running = not self.running
        self.ask("power", vm=self.vm, on=self.running)

    @rule()
    def restart_libvirtd(self) -> None:
        self.ask("restart_libvirtd")

    @invariant()
    def all_is_as_it_must_be(self) -> None:
        if not self.present:
            return
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
        self.done()

    def _virsh_deletes_the_right_files(self, seen: dict[str, Any]) -> None:
        """What `snapshot-revert` of a libvirt that can would delete is what the VM is on, and nothing that is needed."""

    def teardown(self) -> None:
        self.ask("remove", vm=self.vm)

    def _new_name(self, who: str) -> str:
        self.count += 1
        return f"{who}{self.count}"

    def _taken(self, name: str) -> None:
        self.snapshots[name] = copy.deepcopy(self.present)
        self.parents[name] = self.based_on
        self.based_on = name

    def _pick(self, index: int) -> str:
        return sorted(self.snapshots)[index % len(self.snapshots)]

    def _forget(self, name: str) -> None:
        del self.snapshots[name]
        parent = self.parents.pop(name)
        self.parents = {one: parent if above == name else above for one, above in self.parents.items()}
        if self.based_on == name:
            self.based_on = parent


class WithNativeRevert(SnapshotsOfOneVm):
    """On a libvirt that reverts by itself, the current snapshot must name the overlays the VM is on."""

    def _virsh_deletes_the_right_files(self, seen: dict[str, Any]) -> None:
        assert seen["current_disks"] == seen["tops"], seen
