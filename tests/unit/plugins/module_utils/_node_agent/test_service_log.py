# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path
from unittest.mock import Mock

from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.service_log import Log, folded, telling


def test_repeated_lines_are_told_once() -> None:
    assert folded(["a", "b", "b", "b", "a"]) == ["a", "b (3 times)", "a"]


def test_errors_are_kept_where_lines_are_cut() -> None:
    many = [f"line {number}" for number in range(40)]
    assert telling(many) == many[-15:]
    assert telling(many[:15]) == many[:15]
    error = "Error: cannot bind 0.0.0.0:8080"
    assert telling([error, *many]) == [error, *many[-14:]]
    assert telling([*many, error]) == [*many[-14:], error]
    assert telling([*many[:26], error, *many[:13]]).count(error) == 1
    assert telling([*(f"error {number}" for number in range(9)), *many])[:6] == [
        *(f"error {n}" for n in range(4, 9)),
        many[-10],
    ]


def test_a_log_is_told_as_plain_text(tmp_path: Path) -> None:
    file = tmp_path / "agent.log"
    file.write_text("of before\n", "utf-8")
    log = Log.of(Mock(**{"journal.return_value": "\x1b[2mtime\x1b[0m \x1b[31mERROR\x1b[0m it ends\n"}), [str(file)])
    with file.open("a", encoding="utf-8") as stream:
        stream.write("\x1b[1;31mafter\x1b[0m\n\n")
    assert log.tail() == ["time ERROR it ends", "after"]
