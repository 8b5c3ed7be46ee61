# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshot names: what is taken, what is refused and why."""

from __future__ import annotations

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.snapshot_names import (
    FILE_NAME_LIMIT,
    check_snapshot_name,
    file_name,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError


@pytest.mark.parametrize(
    "name",
    ["a", "pre-patch", "a b", "<&\"'>", "größe", "数", "a.b", "a-", "100%", "x" * 251, "ü" * 125, "a\u00a0b", "😀"],
)
def test_names_that_survive_are_taken(name: str) -> None:
    check_snapshot_name(name)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("", "is empty"),
        (" ", "white space"),
        (" a", "white space"),
        ("a ", "white space"),
        ("a/b", "'/'"),
        ("/", "'/'"),
        (".", "begins with '.'"),
        ("..", "begins with '.'"),
        (".hidden", "begins with '.'"),
        ("--all", "begins with '-'"),
        ("a\nb", "control character"),
        ("a\n", "control character"),
        ("a\r", "control character"),
        ("a\tb", "control character"),
        ("a\x00b", "control character"),
        ("a\x7fb", "control character"),
        ("a\x85b", "control character"),
        ("a\u2028b", "control character"),
        ("a\ud800b", "control character"),
        ("a\uffffb", "control character"),
        ("x" * 252, "longer than"),
        ("ü" * 126, "longer than"),
    ],
)
def test_names_that_would_harm_are_refused(name: str, says: str) -> None:
    with pytest.raises(KvmError) as caught:
        check_snapshot_name(name)
    assert caught.value.error_code == "bad_name"
    assert says in caught.value.message


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (("web01", "vda", "s1"), "web01.vda.s1"),
        (("web01", "vda", "a b/c"), "web01.vda.a%20b%2Fc"),
        (("web01", "vda", "größe,x"), "web01.vda.größe%2Cx"),
        (("web01", "vda", "$(x)`;'\"<&>"), "web01.vda.%24%28x%29%60%3B%27%22%3C%26%3E"),
        (("a+b@c=d",), "a+b@c=d"),
    ],
)
def test_a_file_name_escapes_what_shells_and_paths_read(parts: tuple[str, ...], expected: str) -> None:
    assert file_name(*parts) == expected


def test_a_file_name_leaves_room_for_all_that_is_put_behind_it() -> None:
    longest = "x" * (FILE_NAME_LIMIT - len("-999.memory"))
    assert file_name(longest) == longest
    with pytest.raises(KvmError) as caught:
        file_name(longest + "x")
    assert caught.value.error_code == "bad_name"
