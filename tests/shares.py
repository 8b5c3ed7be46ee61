# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which hypervisor does which case, where `make test` need not do each case on each of them.

A case is a test with its parameters, but for the hypervisor. Its name decides who does it: another test that comes or goes moves
nothing. Of the cases that one hypervisor does, a commit's `make test` does one third: which one its hash decides, so that a run
of it is the same however often it is repeated, and another commit does another third.
THIRD=1, 2 or 3 says it by hand; THIRD=all is all of them.
"""

from __future__ import annotations

import os
import subprocess
import zlib
from functools import cache
from pathlib import Path
from typing import Optional

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


def is_of_another_third(item: pytest.Item, on: str = "") -> bool:
    """Return whether this commit leaves the case, on whichever hypervisor, to another one.

    :param on: the test's parameter that is the hypervisor, if it has such a one.
    """
    case = item.nodeid.replace(parameters(item)[on], "third") if on else item.nodeid
    return third() not in {None, zlib.crc32(case.encode()) % 3 + 1}


@cache
def third() -> Optional[int]:
    """Return which third of the cases is done, 1 to 3; None: all, also where nobody can tell which commit this is."""
    asked = "all" if os.environ.get("EVERYWHERE") else os.environ.get("THIRD")
    if asked:
        return {"all": None, "1": 1, "2": 2, "3": 3}[asked]
    here = Path(__file__).resolve().parent
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, check=False, capture_output=True, text=True).stdout
    return int(commit, 16) % 3 + 1 if commit.strip() else None


def leave_out(config: pytest.Config, items: list[pytest.Item], others: list[pytest.Item]) -> None:
    if others:
        config.hook.pytest_deselected(items=others)
        gone = set(others)
        items[:] = [item for item in items if item not in gone]
