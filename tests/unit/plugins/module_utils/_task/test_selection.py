# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which VMs names, UUIDs, globs and exclusions mean."""

from __future__ import annotations

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._task.selection import Selection, select
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import VmId

DOMAINS = [VmId(name, f"0000000{number}-aaaa") for number, name in enumerate(("db1", "Web", "web1", "web2", "[x]"))]
NAMES = [domain.name for domain in DOMAINS]


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["web1"], ["web1"]),
        (["web2", "db1"], ["db1", "web2"]),
        (["web*", "web1"], ["web1", "web2"]),
        (["*"], NAMES),
        (["web?", "!web2"], ["web1"]),
        (["!web*", "!db1"], ["Web", "[x]"]),
        (["!nobody"], NAMES),
        (["web[2-9]"], ["web2"]),
        (["[x]"], ["[x]"]),
        (["00000002-aaaa"], ["web1"]),
        (["00000002-AAAA"], ["web1"]),
        (["*", "!00000002-AAAA"], ["db1", "Web", "web2", "[x]"]),
        (["web1", "00000002-aaaa", "web1"], ["web1"]),
        # Nothing to do here, where other hosts may have what is meant.
        (["no*"], []),
        (["web1", "no*"], ["web1"]),
        (["0000000*"], []),
        (["web1", "!web*"], []),
        # As a text becomes a list: "*, !db*".
        (["*", " !db*"], ["Web", "web1", "web2", "[x]"]),
        ([" web1 ", "! web1"], []),
        ([" web* "], ["web1", "web2"]),
        (["!*"], []),
    ],
)
def test_names_globs_uuids_and_exclusions_are_selected(patterns: list[str], expected: list[str]) -> None:
    meant = select(DOMAINS, patterns)
    assert ([domain.name for domain in meant.vm_ids], meant.missing) == (expected, ())


@pytest.mark.parametrize("patterns", [["*"], ["!web*"], ["no*"]])
def test_a_host_without_vms(patterns: list[str]) -> None:
    assert select([], patterns) == Selection(())


@pytest.mark.parametrize(
    ("patterns", "absent", "others"),
    [
        (["web1", "nobody"], ["nobody"], ["web1"]),
        (["WEB1"], ["WEB1"], []),
        (["nobody", "x", "nobody", "!web1"], ["nobody", "x"], []),
        (["00000009-AAAA", "w*"], ["00000009-AAAA"], ["web1", "web2"]),
    ],
)
def test_a_name_that_is_not_here(patterns: list[str], absent: list[str], others: list[str]) -> None:
    with pytest.raises(KvmError) as caught:
        select(DOMAINS, patterns)
    assert caught.value.error_code == "vm_not_found"
    assert ", ".join(map(repr, absent)) in caught.value.message
    assert caught.value.details["names"] == absent
    meant = select(DOMAINS, patterns, "skip")
    assert ([domain.name for domain in meant.vm_ids], list(meant.missing)) == (others, absent)


def test_a_name_with_glob_characters_is_meant_as_it_is_written() -> None:
    domains = [VmId(name, f"uuid-{name}") for name in ("*", "a[1]", "a1", "b")]
    for patterns, expected in (
        (["a[1]"], ["a[1]"]),
        (["a[12]"], ["a1"]),
        (["*"], ["*", "a[1]", "a1", "b"]),  # nobody can make this mean less by the name of a VM
        (["*", "!a[1]"], ["*", "b"]),
    ):
        assert [domain.name for domain in select(domains, patterns).vm_ids] == expected


@pytest.mark.parametrize("patterns", [[], [""], ["web1", ""], ["!"], ["*", "! "], ["  "]])
@pytest.mark.parametrize("missing", ["fail", "skip"])
def test_nothing_is_not_every_vm(patterns: list[str], missing: str) -> None:
    """What an empty variable becomes, in a list or behind a ``!``."""
    with pytest.raises(KvmError) as caught:
        select(DOMAINS, patterns, missing)
    assert caught.value.error_code == "bad_request"


def test_a_big_host_is_not_listed_whole() -> None:
    with pytest.raises(KvmError, match="x") as caught:
        select([VmId(f"vm{number}", str(number)) for number in range(30)], ["x"])
    assert "vm19 and 10 more" in caught.value.remedy
