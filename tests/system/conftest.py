# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests on the lab's hypervisors share."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Callable

import pytest
from lab.api import Host, host_named, reset_vm
from shares import NAMES, is_of_another, is_of_another_commit, leave_out, parameters, sixth

from .ansible_run import KEEP_PAYLOADS
from .deployed import builds, kept

# Of a session, not of each file: a build takes minutes.
__all__ = ("builds", "kept")

HERE = Path(__file__).resolve().parent
# In `make test` each case is done on one hypervisor, another one each, and these on all of them. EVERYWHERE=1: all on all.
_OF_EACH = ("test_reading.py",)
# Of these, which need no hypervisor and take minutes, a commit does one sixth of the cases too.
_BY_SIXTHS = tuple(
    f"test_{name}.py"
    for name in (
        "guarded_change",
        "playbook_questions",
        "playbook_slips",
        "playbook_traps",
        "qx_node_build",
        "schedule_role",
        "watch",
    )
)


def pytest_configure() -> None:
    os.environ.update(KEEP_PAYLOADS)  # of whatever runs Ansible


def pytest_report_header() -> str:
    done = f"sixth {sixth()}" if sixth() else "all"
    return f"of the cases that one hypervisor does: {done} (SIXTH=all: all)"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave to each hypervisor its share of the cases that one hypervisor need do."""
    if not os.environ.get("EVERYWHERE"):
        leave_out(config, items, [item for item in items if _is_of_another(item)])


def _is_of_another(item: pytest.Item) -> bool:
    if item.path.parent != HERE or item.path.name in _OF_EACH:
        return False
    if item.get_closest_marker("everywhere"):
        return False
    if item.get_closest_marker("agent") and item.path.name not in _BY_SIXTHS:  # each has a host for each init
        return is_of_another_commit(item, parts=2)
    on = next((name for name in ("host", "planted") if parameters(item).get(name) in NAMES), "")
    if on:
        return is_of_another(item, on) or is_of_another_commit(item, on)
    return item.path.name in _BY_SIXTHS and is_of_another_commit(item)


@pytest.fixture(scope="session", params=NAMES)
def host(request: pytest.FixtureRequest) -> Host:
    """Each hypervisor of the lab; skipped by name where it is not up."""
    return host_named(request.param) or pytest.skip(f"{request.param} is not up; start it with: dev/lab/lab up")


Fresh = Callable[..., None]


@pytest.fixture
def fresh(host: Host) -> Fresh:
    """Make VMs pristine by calling it with their names. Nothing is put back afterwards: every test starts with this."""
    return partial(reset_vm, host)
