# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a VM is beside on its host is asked of the files and of the users of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Optional

import pytest

pytest.importorskip("lxml")

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.users.surroundings import (
    Surroundings,
)


def around(by_users: Optional[str] = None, by_files: Optional[str] = None, used: tuple[str, ...] = ()) -> Any:
    files = SimpleNamespace(
        why_unknown=lambda _file: by_files,
        memories=lambda _file: [SimpleNamespace(file=path) for path in ("/save/own", "/save/managed", "/save/by-hand")],
    )
    users = SimpleNamespace(why_unknown=lambda _file: by_users, of=lambda file: [file] if file in used else [])
    return Surroundings(files, users, "own")  # type: ignore[arg-type]


def test_what_either_does_not_know_is_unknown() -> None:
    assert around().why_unknown("/vm/a") is None
    assert around("a pool is off").why_unknown("/vm/a") == "a pool is off"
    assert around(None, "a mount is dead").why_unknown("/vm/a") == "a mount is dead"


def test_memory_that_libvirt_knows_of_is_nobody_elses() -> None:
    found = around(used=("/save/managed",)).memories("/vm/a", ["/save/own"])
    assert [one.file for one in found] == ["/save/by-hand"]
