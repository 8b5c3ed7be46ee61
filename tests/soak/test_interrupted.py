# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever is killed at whichever step: after one more run everything is as it should be, and nothing is left behind."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from contract.world import Driver

from .killed_steps import FIRST_CALLS, WORK, going
from .model import Choice
from .steps import Steps

VM = "soak"
_KILLED = {
    "libvirtd": ("take", "removal of the newest", "removal from the middle", "revert"),
    "qemu": ("take", "removal of the newest"),
}
_CASES = [(work, step, "module") for work, (_options, steps, _on) in WORK.items() for step in steps] + [
    (work, step, fault) for fault, works in _KILLED.items() for work in works for step in WORK[work][1]
]


class Bench:
    """The VM, what it must hold, and what can be done to it."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def ask(self, call: str, **arguments: Any) -> dict[str, Any]:
        self._driver.send(call, **arguments)
        answer = self._driver.answer()
        assert "broken" not in answer, answer["broken"]
        return answer

    def fresh(self, running: bool) -> None:
        """Make the VM anew: s1 holds 1, s2 holds 2, the present 3."""
        self.ask("reset", vm=VM, formats={"vda": "qcow2", "vdb": "raw"})
        if running:
            self.ask("power", vm=VM, on=True)
        for number, name in enumerate(("s1", "s2", None), 1):
            for target in ("vda", "vdb"):
                self.ask("write", vm=VM, target=target, region=0, pattern=number)
            if name:
                assert not self.ask("module", name=name).get("failed")


@pytest.fixture
def bench(soaked: tuple[str, Driver]) -> Any:
    made = Bench(soaked[1])
    yield made
    made.ask("remove", vm=VM)


@pytest.mark.parametrize(("work", "step", "fault"), _CASES)
def test_a_killed_run_is_finished_or_undone_by_the_next(bench: Bench, work: str, step: str, fault: str) -> None:
    interrupted(bench, work, step, fault)


@pytest.mark.parametrize("milliseconds", range(0, 250, 8))
@pytest.mark.parametrize(("work", "step"), FIRST_CALLS.items())
def test_libvirtd_killed_at_any_moment(bench: Bench, work: str, step: str, milliseconds: int) -> None:
    """Libvirt itself may have lost the VM, or where it is, or crash again at what it finds: one does as the errors say."""
    options, _steps, running = WORK[work]
    bench.fresh(running)
    bench.ask("spoilt", step=step, fault=f"libvirtd after {milliseconds} ms", options=options)
    bench.ask("restart_libvirtd")
    writes = bench.ask("is_on", vm=VM)["on"] and options.get("state") != "reverted"
    for target in ("vda", "vdb") if writes else ():
        bench.ask("write", vm=VM, target=target, region=0, pattern=4)
    again = bench.ask("module", **options)
    told: list[str] = []
    while again.get("failed") and len(told) < 3:
        told.append(obey(bench, again["vms"][0]))
        again = bench.ask("module", **options)
    assert not again.get("failed"), (told, again["msg"], again["vms"])
    all_is_well(bench, options, running and "file_in_use" not in told, written=4 if writes else 3)


@pytest.mark.parametrize(("work", "step"), [(work, step) for work, step, fault in _CASES if fault == "module"])
def test_killed_beside_others(soaked: tuple[str, Driver], work: str, step: str) -> None:
    """A clone through a pool, one of a user's session daemon and a disk that was detached all keep what they hold."""
    options, _steps, running = WORK[work]
    world = beside_others(soaked[1], running)
    said = world.ask("spoilt", step=step, fault="module", options=options)
    assert said["killed"], said
    world.again(options)
    world.seen()
    world.ask("unmake", vm=VM)


class Interrupted(Steps):
    """A world in which a run is killed."""

    def again(self, options: dict[str, Any]) -> None:
        """Do what was interrupted once more, and note what must be true then."""
        name, state = options["name"], options.get("state", "present")
        if state == "present":
            self.task("take", name)
            self.taken(name, proven=True)
        elif state == "absent":
            self.task("remove", name, **({"children": True} if options.get("children") else {}))
            for gone in going(options):
                del self.snapshots[gone]
        else:
            self.task("revert", name)
            for target, content in self.snapshots[name].content.items():
                self.main[target].content = list(content)


def beside_others(driver: Driver, running: bool) -> Interrupted:
    """Make a VM with s1 and s2, and others on images of both."""
    world = Interrupted(driver)
    world.fresh({"vda": "qcow2", "vdb": "raw"})
    chosen = Choice(0, 0, 1, "restore")
    for number, name in enumerate(("s1", "s2"), 1):
        for any_disk in range(len(world.main)):
            world.write(replace(chosen, any=any_disk, pattern=number))
        world.task("take", name)
        world.taken(name, proven=True)
        world.seen()
        if name == "s1":
            world.attach_new(chosen)
    world.write(replace(chosen, any=2, pattern=3))
    world.detach(replace(chosen, any=1))
    assert "detached vdc" in world.others
    world.clone_in_pool(replace(chosen, any=0))
    world.clone_of_user(replace(chosen, any=1))
    if running:
        world.start()
    world.write(replace(chosen, pattern=3))
    world.seen(by_others=True)
    return world


def obey(bench: Bench, entry: dict[str, Any]) -> str:
    """Do what an error tells an operator to do, where libvirt lost something; return the error's code."""
    code: str = entry["error_code"]
    print(code, entry["msg"])
    if code == "connection_lost":
        bench.ask("restart_libvirtd")
    elif code == "pivot_unseen":
        bench.ask("power", vm=VM, on=False)
        bench.ask("power", vm=VM, on=True)
    elif code == "file_in_use":
        bench.ask("end_process", pid=entry["details"]["pid"])
    else:
        raise AssertionError(entry)
    return code


def interrupted(bench: Bench, work: str, step: str, fault: str) -> None:
    """Do some work, have something killed in the middle of it, do it once more, and look at everything."""
    options, _steps, running = WORK[work]
    bench.fresh(running)
    said = bench.ask("spoilt", step=step, fault=fault, options=options)
    assert said["killed"] == (fault == "module"), said
    if fault == "libvirtd":
        bench.ask("restart_libvirtd")
    again = bench.ask("module", **options)
    assert not again.get("failed"), (said, again)
    all_is_well(bench, options, running and fault != "qemu")


def all_is_well(bench: Bench, options: dict[str, Any], running: bool, written: int = 3) -> None:
    """Look at everything; ``written`` is what the guest wrote last, perhaps after the work was interrupted."""
    seen = bench.ask("look", vm=VM)
    assert first_bytes(seen["present"]) == {1 if options.get("state") == "reverted" else written}, seen
    held = {name: first_bytes(content) for name, content in seen["snapshots"].items()}
    assert held in (expected(options, 3), expected(options, written)), seen
    assert seen["state"] == ("running" if running else "shut off"), seen
    assert set(seen["info"]["pasts"].values()) == ({"unchanged"} if held else set()), seen
    trouble = [seen[key] for key in ("orphans", "missing", "problems")]
    trouble += [seen["info"][key] for key in ("problems", "unknown_overlays", "missing_files", "operation", "failed")]
    assert not any(trouble), seen


def first_bytes(content: dict[str, list[int]]) -> set[int]:
    """Return what the written place of all disks holds."""
    return {regions[0] for regions in content.values()}


def expected(options: dict[str, Any], written: int) -> dict[str, set[int]]:
    """Return what every snapshot must hold when the work is done; a new one what was written last."""
    held = {"s1": {1}, "s2": {2}}
    if options.get("state") == "absent":
        held = {name: value for name, value in held.items() if name not in going(options)}
    elif "state" not in options:
        held[options["name"]] = {written}
    return held
