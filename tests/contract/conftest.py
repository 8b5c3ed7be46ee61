# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One world for each backend: the mock everywhere, libvirt on every hypervisor of the lab that is up."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from lab.api import host_named
from shares import NAMES, is_of_another, leave_out, parameters

from contract.agent_world import AgentWorld
from contract.libvirt_world import LibvirtWorld
from contract.mock_world import MockWorld
from contract.world import World

# Of a commit, every second hypervisor does a case, and the mock all of them. EVERYWHERE=1: all on all.
_SHARES = 2


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not os.environ.get("EVERYWHERE"):
        real = [item for item in items if parameters(item).get("world") in NAMES]
        leave_out(config, items, [item for item in real if is_of_another(item, "world", _SHARES)])


@pytest.fixture(scope="session", params=["mock", *NAMES])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A hypervisor with pristine VMs; skipped by name where it is not up."""
    found = _world(request.param, tmp_path_factory)
    if found is None:
        pytest.skip(f"{request.param} is not up; start it with: dev/lab/lab up")
    found.reset()
    yield found
    found.close()


@pytest.fixture(scope="session")
def qx_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentWorld]:
    """An agent on this machine, over its own mock hypervisor; skipped by name where there is no cargo to build it."""
    if not shutil.which("cargo"):
        pytest.skip("qx_node: there is no cargo; install Debian's package cargo")
    found = AgentWorld(tmp_path_factory.mktemp("qx_node"))
    found.reset()
    yield found
    found.close()


def _world(name: str, folders: pytest.TempPathFactory) -> World | None:
    if name == "mock":
        return MockWorld(folders.mktemp("mock"))
    host = host_named(name)
    return LibvirtWorld(host) if host else None
