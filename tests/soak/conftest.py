# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What works on a hypervisor for the model and for the faults."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from contract.world import Driver
from lab.api import host_named
from lab.host_table import FLEET

from .one_vm import working_on

_NAMES = [spec.name for spec in FLEET]


# Tests of very many cases, what they call the hypervisor, and which part of them each hypervisor does in `make test`, another
# one each. `make soak` has all of the first done on all; SOAK_ALL=1 before a pytest has all of everything done.
_SHARED = {
    "test_killed": ("soaked", 6),
    "test_killed_beside_others": ("soaked", 9),
    "test_native_commands_lose_nothing": ("host", 9),
}
_BY_CHANCE = "test_libvirtd_killed_at_any_moment"  # what it hits is chance, and nothing for a gate


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave to each hypervisor its share of the tests that try everything everywhere."""
    if os.environ.get("SOAK_ALL"):
        return
    others = [item for name, (on, parts) in _SHARED.items() for item in _of_others(name, on, parts, items)]
    others += [item for item in items if getattr(item, "originalname", "") == _BY_CHANCE]
    if others:
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in others]


def _of_others(name: str, on: str, parts: int, items: list[pytest.Item]) -> list[pytest.Item]:
    shared = [item for item in items if getattr(item, "originalname", "") == name]
    cases = sorted({_case(item, on) for item in shared})
    return [item for item in shared if (cases.index(_case(item, on)) - _NAMES.index(_params(item)[on])) % parts]


def _params(item: pytest.Item) -> dict[str, str]:
    return dict(item.callspec.params)  # type: ignore[attr-defined]


def _case(item: pytest.Item, on: str) -> tuple[str, ...]:
    return tuple(str(value) for key, value in sorted(_params(item).items()) if key != on)


@pytest.fixture(scope="module", params=_NAMES)
def soaked(request: pytest.FixtureRequest) -> Iterator[tuple[str, Driver]]:
    """A hypervisor's libvirt version, and what does the model's work there."""
    host = host_named(request.param)
    if host is None:
        pytest.skip(f"{request.param} is not up; start it with: dev/lab/lab up")
    with working_on(host) as driver:
        yield host.libvirt_version, driver
