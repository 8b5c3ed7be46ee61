# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A hypervisor loses its power: the work is at another step on each of its VMs. `make metal` runs these.

What no program had flushed is gone then, and every VM is off. One run of the same task must bring each to where it would be.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from xml.etree import ElementTree

import pytest
from soak.killed_steps import WORK, going

from .field import MakeVm, make_vm
from .field_disk import Disk
from .field_vm import FieldVm
from .guest import holds, wait_for
from .metal import Machine, planted

__all__ = ("make_vm", "planted")

TARGETS = ("vda", "vdb")
# The work stops just before a step and stays there.
_STOP = """
import importlib
module, _colon, path = {step!r}.partition(":")
owner = importlib.import_module("ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt." + module)
*names, last = path.split(".")
for name in names:
    owner = getattr(owner, name)
def stop():
    open("/run/stopped-{vm}", "w").close()
    time.sleep(3600)
before(owner, last, stop)
"""


def prepared(vm: FieldVm, running: bool) -> None:
    """Let s1 hold 1, s2 hold 2 and the present 3."""
    if running:
        vm.start()
    for pattern, name in enumerate(("s1", "s2", None), 1):
        for target in TARGETS:
            vm.write(target, pattern)
        if name:
            done = vm.take(name)
            assert done["error_code"] is None, done["msg"]


def call(options: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return what of the driver does the work, and with which options."""
    name, state = options["name"], options.get("state", "present")
    if state == "absent":
        children = {"children": True} if options.get("children") else {}
        return "remove", {"name": name, "apparmor": "adjust", **children}
    return ("revert", {"name": name}) if state == "reverted" else ("snapshot", {"name": name, "quiesce": "never"})


def again(vm: FieldVm, options: dict[str, Any]) -> dict[str, Any]:
    what, words = call(options)
    return {"remove": vm.remove, "revert": vm.revert, "snapshot": vm.take}[what](**words)


def expected(options: dict[str, Any]) -> tuple[int, dict[str, int]]:
    """Return what the present must hold, and what each snapshot."""
    held = {"s1": 1, "s2": 2}
    if options.get("state") == "absent":
        held = {name: pattern for name, pattern in held.items() if name not in going(options)}
    elif "state" not in options:
        held[options["name"]] = 3
    return (1 if options.get("state") == "reverted" else 3), held


def snapshot_holds(vm: FieldVm, name: str, pattern: int) -> bool:
    """Whether the images to which a revert would go have the pattern, of all disks."""
    root = ElementTree.fromstring(vm.virsh("snapshot-dumpxml", name))  # noqa: S314 - libvirt's own word
    found = []
    for disk in root.iterfind("domain/devices/disk"):
        source, driver = disk.find("source"), disk.find("driver")
        assert source is not None
        assert driver is not None
        found.append(holds(vm.host, source.get("file", ""), driver.get("type", ""), pattern))
    assert len(found) == len(TARGETS)
    return all(found)


@pytest.mark.parametrize("work", WORK)
def test_a_power_cut_at_each_step_costs_one_run(make_vm: MakeVm, planted: Machine, work: str) -> None:
    options, steps, running = WORK[work]
    vms = {step: make_vm(f"cut{number}", "vda", Disk("vdb", format="raw")) for number, step in enumerate(steps)}
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda vm: prepared(vm, running), vms.values()))
    what, words = call(options)
    for step, vm in vms.items():
        planted.begin(what, _STOP.format(step=step, vm=vm.name), vm.name, **words)
    for step, vm in vms.items():
        wait_for(f"{step}, in {vm.name}", lambda vm=vm: vm.exists(f"/run/stopped-{vm.name}"), 600)  # type: ignore[misc]
    planted.cut_and_boot()
    with ThreadPoolExecutor(4) as pool:
        found = pool.map(lambda vm: found_wrong(vm, options), vms.values())
    wrong = {step: texts for step, texts in zip(vms, found) if texts}
    assert not wrong, wrong


def found_wrong(vm: FieldVm, options: dict[str, Any]) -> list[str]:
    """Run the task once more, and return what is not as it must be then."""
    done = again(vm, options)
    if done["error_code"]:
        return [done["msg"]]
    present, held = expected(options)
    found = [f"{target} lost {present}" for target in TARGETS if not vm.disk_reads(target, present)]
    found += [] if set(vm.snapshots()) == set(held) else [f"snapshots: {vm.snapshots()}"]
    found += [f"{name} lost {pattern}" for name, pattern in held.items() if not snapshot_holds(vm, name, pattern)]
    info = vm.sound()
    return found + [f"{one['name']}: {one['past']}" for one in info["snapshots"] if one["past"] != "unchanged"]
