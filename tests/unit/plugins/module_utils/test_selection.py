# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which VMs names, UUIDs, globs and exclusions mean."""

from __future__ import annotations

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._task.selection import select
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import DomainId

DOMAINS = [DomainId(name, f"0000000{number}-aaaa") for number, name in enumerate(("db1", "Web", "web1", "web2", "[x]"))]


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["web1"], ["web1"]),
        (["web2", "db1"], ["db1", "web2"]),
        (["web*", "web1"], ["web1", "web2"]),
        (["*"], ["db1", "Web", "web1", "web2", "[x]"]),
        (["web?", "!web2"], ["web1"]),
        (["!web*", "!db1"], ["Web", "[x]"]),
        (["!nobody"], ["db1", "Web", "web1", "web2", "[x]"]),
        (["web[2-9]"], ["web2"]),
        (["[x]"], ["[x]"]),
        (["00000002-aaaa"], ["web1"]),
        (["00000002-AAAA"], ["web1"]),
        (["*", "!00000002-aaaa"], ["db1", "Web", "web2", "[x]"]),
    ],
)
def test_selected(patterns: list[str], expected: list[str]) -> None:
    assert [domain.name for domain in select(DOMAINS, patterns)] == expected


@pytest.mark.parametrize(
    ("patterns", "named"),
    [
        (["web1", "nobody"], "nobody"),
        (["no*"], "no*"),
        (["WEB1"], "WEB1"),
        ([""], ""),
        (["0000000*"], "0000000*"),
        (["web1", "!web*"], "web1, !web*"),
        (["!*"], "!*"),
    ],
)
def test_not_found(patterns: list[str], named: str) -> None:
    with pytest.raises(KvmError) as caught:
        select(DOMAINS, patterns)
    assert caught.value.error_code == "vm_not_found"
    assert repr(named) in caught.value.message


def test_an_empty_list_is_not_every_vm() -> None:
    with pytest.raises(KvmError) as caught:
        select(DOMAINS, [])
    assert caught.value.error_code == "bad_request"


def test_a_big_host_is_not_listed_whole() -> None:
    with pytest.raises(KvmError, match="x") as caught:
        select([DomainId(f"vm{number}", str(number)) for number in range(30)], ["x"])
    assert "vm19 and 10 more" in caught.value.remedy
