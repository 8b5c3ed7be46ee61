# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""VMs of the contract's tests of reverting."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from contract.results import taken
from contract.world import World


@pytest.fixture
def off(world: World) -> Iterator[str]:
    """A pristine VM that is shut off."""
    world.reset("off01")
    yield "off01"
    world.reset("off01")


@pytest.fixture
def on(world: World) -> Iterator[str]:
    """A pristine VM that runs, with two qcow2 disks, a raw one and a cdrom."""
    world.reset("files01")
    yield "files01"
    world.reset("files01")


def take(world: World, vm: str, *names: str) -> None:
    for name in names:
        taken(world.snapshot(vm, name, quiesce="never"))
