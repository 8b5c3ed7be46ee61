# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Random work on VMs of every hypervisor, compared with a model after each step.

`make test` runs a short part, always the same one; `make soak N=2000` that many steps on each host, anew each time
(SEED=… repeats one that is printed at a failure).
"""

from __future__ import annotations

import os
from collections import Counter
from random import Random
from typing import Any

import pytest
from contract.world import Driver

from .model import SnapshotsOfOneVm, WithNativeRevert
from .steps import BesideOthers
from .world import REFUSED

STEPS_OF_A_RUN = 25
_STEPS = int(os.environ.get("SOAK_STEPS", "50"))
_SEED = os.environ.get("SOAK_SEED", "1")


def test_everybody_finds_what_they_left(soaked: tuple[str, Driver], capsys: pytest.CaptureFixture[str]) -> None:
    native = tuple(map(int, soaked[0].split("."))) >= (9, 9)
    _soak(WithNativeRevert if native else SnapshotsOfOneVm, *soaked, capsys)


def test_nobody_beside_a_vm_loses_anything(soaked: tuple[str, Driver], capsys: pytest.CaptureFixture[str]) -> None:
    """The VM has neighbours, and people work on its disks without this collection."""
    REFUSED.clear()
    try:
        _soak(BesideOthers, *soaked, capsys)
    finally:
        with capsys.disabled():
            print(f"libvirt {soaked[0]}: refused {_counted(REFUSED)}", flush=True)


def _soak(machine: Any, version: str, driver: Driver, capsys: pytest.CaptureFixture[str]) -> None:
    seed = int(_SEED) if _SEED != "random" else int.from_bytes(os.urandom(4), "big")
    done: Counter[str] = Counter()
    while sum(done.values()) < _STEPS:
        run = seed + sum(done.values())
        with capsys.disabled():
            print(f"libvirt {version}: seed {run}, {sum(done.values())} steps done", flush=True)
        _run(machine(driver, Random(run)), min(STEPS_OF_A_RUN, _STEPS - sum(done.values())), done)  # noqa: S311
    with capsys.disabled():
        print(f"libvirt {version}: did {_counted(done)}", flush=True)


def _run(machine: Any, steps: int, done: Counter[str]) -> None:
    """Do a run's steps; what a failed one leaves stays to be looked at, until the next run makes all anew."""
    machine.fresh()
    try:
        for _step in range(steps):
            done[machine.step()] += 1
    except AssertionError as error:
        raise AssertionError("\n".join([*machine.story, str(error)])) from None
    machine.teardown()


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{number} {name}" for name, number in counts.most_common()) or "nothing"
