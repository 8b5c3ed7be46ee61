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
from shares import NAMES, is_of_another, is_of_another_commit, leave_out

from .one_vm import working_on

# Tests of very many cases, what they call the hypervisor, and which part of them each hypervisor does, another one each. Of
# that, a commit's `make test` does one half. `make soak` has all of the first done on all; SOAK_ALL=1 before a pytest has all of
# everything done.
_SHARED = {
    "test_a_killed_run_is_finished_or_undone_by_the_next": ("soaked", 3),
    "test_killed_beside_others": ("soaked", 9),
}
_BY_CHANCE = "test_libvirtd_killed_at_any_moment"  # what it hits is chance, and nothing for a gate


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave to each hypervisor its share of the tests that try everything everywhere."""
    if os.environ.get("SOAK_ALL"):
        return
    leave_out(config, items, [item for item in items if _is_left(item)])


def _is_left(item: pytest.Item) -> bool:
    name = getattr(item, "originalname", "")
    if name not in _SHARED:
        return name == _BY_CHANCE
    on, parts = _SHARED[name]
    return is_of_another(item, on, parts) or is_of_another_commit(item, on, 2)


@pytest.fixture(scope="module", params=NAMES)
def soaked(request: pytest.FixtureRequest) -> Iterator[tuple[str, Driver]]:
    """A hypervisor's libvirt version, and what does the model's work there."""
    host = host_named(request.param)
    if host is None:
        pytest.skip(f"{request.param} is not up; start it with: dev/lab/lab up")
    with working_on(host) as driver:
        yield host.libvirt_version, driver
