# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which tests must not meet: those of one hypervisor share its VMs, so one process runs them (`pytest -n`)."""

from __future__ import annotations

import pytest

_FIXTURES_OF_A_HOST = ("host", "planted", "world")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of a hypervisor into one group of xdist's."""
    for item in items:
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        for fixture in _FIXTURES_OF_A_HOST:
            if fixture in parameters:
                item.add_marker(pytest.mark.xdist_group(parameters[fixture]))
