# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests on the lab's hypervisors share."""

from __future__ import annotations

from functools import partial
from typing import Callable

import pytest
from lab.api import Host, host_named, reset_vm
from lab.host_table import FLEET

from .deployed import builds, kept

# Of a session, not of each file: a build takes minutes.
__all__ = ("builds", "kept")


@pytest.fixture(scope="session", params=[spec.name for spec in FLEET])
def host(request: pytest.FixtureRequest) -> Host:
    """Each hypervisor of the lab; skipped by name where it is not up."""
    return host_named(request.param) or pytest.skip(f"{request.param} is not up; start it with: dev/lab/lab up")


Fresh = Callable[..., None]


@pytest.fixture
def fresh(host: Host) -> Fresh:
    """Make VMs pristine by calling it with their names. Nothing is put back afterwards: every test starts with this."""
    return partial(reset_vm, host)
