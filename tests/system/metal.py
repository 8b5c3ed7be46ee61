# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts that are machines of their own, for tests that need one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from contract.libvirt_world import LibvirtWorld
from lab.api import host_named

from .planted import Planted


class Machine(Planted):
    """A machine with the collection's code on it, and a plug that can be pulled."""

    def begin(self, what: str, fault: str, vm: str, **options: Any) -> None:
        """Begin what `code` says, and do not wait for its end."""
        self.host.put(f"/run/begun-{vm}.py", self.code(what, fault, [vm], **options))
        python = f"PYTHONPATH={self.home} setsid nohup python3 /run/begun-{vm}.py"
        self.host.run(f"cd /; {python} >/run/begun-{vm}.log 2>&1 </dev/null &")

    def cut_and_boot(self) -> None:
        """Cut its power and boot it again. Its VMs are off then."""
        self.host.cut_power()
        self.host.power_on()
        super().__init__(LibvirtWorld(self.host))  # the code lay in its memory


@pytest.fixture(scope="session", params=["hv-metal", "hv-metal13"])
def planted(request: pytest.FixtureRequest) -> Iterator[Machine]:
    """Each machine; skipped by name where it is not up."""
    host = host_named(request.param)
    if host is None:
        pytest.skip(f"{request.param} is not up; start it with: dev/lab/lab up --only {request.param}")
    world = LibvirtWorld(host)
    yield Machine(world)
    world.close()
