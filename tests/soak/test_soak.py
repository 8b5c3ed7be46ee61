# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Random work on VMs of every hypervisor, compared with a model after each step.

`make test` runs a short part, always the same one; `make soak N=2000` that many steps on each host, anew each time
(SEED=… repeats one that is printed at a failure).
"""

from __future__ import annotations

import os
from typing import Any

import hypothesis
import pytest
from contract.world import Driver
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from .model import SnapshotsOfOneVm, WithNativeRevert

STEPS_OF_A_RUN = 25
_STEPS = int(os.environ.get("SOAK_STEPS", "50"))
_SEED = os.environ.get("SOAK_SEED", "1")


class Enough(BaseException):
    """The steps asked for are done."""


def test_everybody_finds_what_they_left(soaked: tuple[str, Driver], capsys: pytest.CaptureFixture[str]) -> None:
    version, driver = soaked
    native = tuple(map(int, version.split("."))) >= (9, 9)
    machine: type[SnapshotsOfOneVm] = WithNativeRevert if native else SnapshotsOfOneVm
    count = 0

    def done() -> None:
        nonlocal count
        count += 1
        if count % 100 == 0:
            with capsys.disabled():
                print(f"libvirt {version}: {count} steps", flush=True)

    bound: Any = type("Bound", (machine,), {"driver": driver, "done": staticmethod(done)})
    seed = int(_SEED) if _SEED != "random" else int.from_bytes(os.urandom(4), "big")
    with capsys.disabled():
        print(f"libvirt {version}: seed {seed}", flush=True)
    while count < _STEPS:
        hypothesis.seed(seed + count)
        _run(bound, seed + count, min(STEPS_OF_A_RUN, _STEPS - count))


def _run(machine: Any, seed: int, steps: int) -> None:
    chosen = settings(
        max_examples=1,
        stateful_step_count=max(2, steps),
        deadline=None,
        database=None,
        # On real hypervisors a failure is looked at, not made smaller: every step counts there.
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )

    @hypothesis.seed(seed)
    class Seeded(machine):  # type: ignore[misc, valid-type]
        pass

    run_state_machine_as_test(Seeded, settings=chosen)
