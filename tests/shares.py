# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which hypervisor does which case, where `make test` need not do each case on each of them.

A case is a test with its parameters, but for the hypervisor. Its name decides who does it: another test that comes or goes moves
nothing.
"""

from __future__ import annotations

import zlib

import pytest
from lab.host_table import FLEET

NAMES = [spec.name for spec in FLEET]


def parameters(item: pytest.Item) -> dict[str, str]:
    return dict(item.callspec.params) if hasattr(item, "callspec") else {}


def is_of_another(item: pytest.Item, on: str, parts: int = len(NAMES)) -> bool:
    """Return whether another hypervisor does this case. Of `parts` shares each hypervisor does one.

    :param on: the test's parameter that is the hypervisor.
    """
    name = parameters(item)[on]
    case = item.nodeid.replace(name, "")
    return bool((zlib.crc32(case.encode()) - NAMES.index(name)) % parts)


def leave_out(config: pytest.Config, items: list[pytest.Item], others: list[pytest.Item]) -> None:
    if others:
        config.hook.pytest_deselected(items=others)
        gone = set(others)
        items[:] = [item for item in items if item not in gone]
