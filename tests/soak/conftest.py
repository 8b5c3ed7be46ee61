# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What works on a hypervisor for the model and for the faults."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from contract.world import Driver, LibvirtWorld
from lab import ssh
from lab.api import hosts
from lab.host_table import FLEET


@pytest.fixture(scope="module", params=[spec.name for spec in FLEET])
def soaked(request: pytest.FixtureRequest) -> Iterator[tuple[str, Driver]]:
    """A hypervisor's libvirt version, and what does the model's work there."""
    host = next((up for up in hosts() if up.name == request.param), None)
    if host is None:
        pytest.skip(f"{request.param} is not up; start it with: tests/lab/lab up")
    world = LibvirtWorld(host)
    host.put(f"{world.home}/on_host.py", Path(__file__).with_name("on_host.py").read_text(encoding="utf-8"))
    command = f"PYTHONPATH={world.home} exec python3 {world.home}/on_host.py"
    driver = Driver([*ssh.command(host.name), command], {})
    yield host.libvirt_version, driver
    driver.end()
    world.close()
