# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which hypervisor does which case, where `make test` need not do each case on each of them.

A case is a test with its parameters, but for the hypervisor. Its name and the commit decide who does it: another test that comes
or goes moves nothing, and each hypervisor has its turn. Of most of what one hypervisor does, a commit's `make test` does a sixth:
which one its hash decides, so that a run of it is the same however often it is repeated, and another commit does another sixth.
SIXTH=1 to 6 says it by hand; SIXTH=all is all of them.
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
    return bool((_number(item, name) + (sixth() or 0) - NAMES.index(name)) % parts)


def is_of_another_commit(item: pytest.Item, on: str = "", parts: int = 6) -> bool:
    """Return whether this commit leaves the case, on whichever hypervisor, to another one. Of `parts` shares it does one.

    :param on: the test's parameter that is the hypervisor, if it has such a one.
    :param parts: divides 6.
    """
    number = _number(item, parameters(item)[on] if on else "") >> 8  # not what decides on which hypervisor
    mine = sixth()
    return mine is not None and (number - mine) % parts != 0


def _number(item: pytest.Item, hypervisor: str) -> int:
    return zlib.crc32((item.nodeid.replace(hypervisor, "") if hypervisor else item.nodeid).encode())


@cache
def sixth() -> Optional[int]:
    """Return which sixth of the cases is done, 1 to 6; None: all, also where nobody can tell which commit this is."""
    asked = "all" if os.environ.get("EVERYWHERE") else os.environ.get("SIXTH")
    if asked:
        return {"all": None, **{str(number): number for number in range(1, 7)}}[asked]
    here = Path(__file__).resolve().parent
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, check=False, capture_output=True, text=True).stdout
    return int(commit, 16) % 6 + 1 if commit.strip() else None


def leave_out(config: pytest.Config, items: list[pytest.Item], others: list[pytest.Item]) -> None:
    if others:
        config.hook.pytest_deselected(items=others)
        gone = set(others)
        items[:] = [item for item in items if item not in gone]
