# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""In which order files are deleted, and that no file goes that anybody else is based on."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("lxml")
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt import file_deletion
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError


def around(above: dict[str, Sequence[str]], users: Sequence[str] = (), unknown: str = "") -> Any:
    """Return a host whose headers say what is based on a file."""
    return SimpleNamespace(
        files=SimpleNamespace(look_into=lambda _folders: None, above=lambda file, _own=(): above.get(file, ())),
        users=SimpleNamespace(of=lambda file, _owner: users if file == "/vm/base" else ()),
        owner="uuid",
        why_unknown=lambda file: unknown if file == "/vm/base" else None,
    )


@pytest.fixture(autouse=True)
def _headers_are_true(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_deletion, "is_based_on", lambda _one, _file: True)


def order(host: Any, *files: str) -> list[str]:
    return list(file_deletion._in_order("web01", host, files))


TREE = {"/vm/base": ("/vm/left", "/vm/right"), "/vm/left": ("/vm/top",)}


def test_siblings_and_what_is_on_them_go_before_their_base() -> None:
    gone = order(around(TREE), "/vm/base", "/vm/left", "/vm/right", "/vm/top")
    assert gone.index("/vm/top") < gone.index("/vm/left") < gone.index("/vm/base")
    assert gone[-1] == "/vm/base"


def test_a_base_stays_for_a_sibling_that_does_not_go() -> None:
    with pytest.raises(KvmError) as caught:
        order(around(TREE), "/vm/base", "/vm/left", "/vm/top")
    assert "/vm/right" in caught.value.message


def test_a_user_and_an_unknown_one_both_keep_a_file() -> None:
    for host in (around({}, users=["VM db01"]), around({}, unknown="a pool is not read")):
        with pytest.raises(KvmError):
            order(host, "/vm/base")


def test_headers_in_a_circle_hold_nothing_up() -> None:
    assert set(order(around({"/a": ("/b",), "/b": ("/a",)}), "/a", "/b")) == {"/a", "/b"}
