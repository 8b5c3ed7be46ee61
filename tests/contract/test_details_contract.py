# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every place that makes an error, read from the source: also those that no test of a backend comes to. No lab needed."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from contract.details import DETAILS, OWN, check
from contract.world import ROOT

_FLOORS = ("_rules", "_hypervisor", "_task")
_ERRORS = ("KvmError", "InDoubtError", "QxNodeError")
# These are no refusals of a VM: each backend's way to its own world, and its options, fail in words of that world.
_OWN_WORDS = {"bad_request", "connection_failed", "permission_denied", "busy"}


@dataclass(frozen=True)
class Made:
    """An error that is made somewhere: ``backend`` is "" on a floor that all share."""

    code: str
    backend: str
    keys: frozenset[str]
    where: str


def _made() -> Iterator[Made]:
    utils = ROOT / "plugins/module_utils"
    for path in sorted(path for floor in _FLOORS for path in (utils / floor).rglob("*.py")):
        parts = path.relative_to(utils).parts
        backend = parts[1] if parts[0] == "_hypervisor" and parts[1] in OWN else ""
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _ERRORS:
                keys = frozenset(word.arg for word in node.keywords if word.arg)
                for code in _codes(node.args[0]):
                    yield Made(code, backend, keys, f"{path.relative_to(ROOT)}:{node.lineno}")


def _codes(node: ast.expr) -> list[str]:
    """Return the codes an expression may have; none of one that passes on another error's."""
    parts = [node.body, node.orelse] if isinstance(node, ast.IfExp) else [node]
    return [part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)]


def _by_code() -> dict[str, list[Made]]:
    found: dict[str, list[Made]] = defaultdict(list)
    for one in _made():
        found[one.code].append(one)
    return found


def test_every_code_that_two_backends_can_raise_is_recorded() -> None:
    shared = {code for code, made in _by_code().items() if {one.backend for one in made} not in ({b} for b in OWN)}
    assert shared == DETAILS.keys()


def test_each_place_gives_the_recorded_details() -> None:
    wrong = [
        f"{one.where}: details of {code} are {sorted(one.keys)}, recorded are {sorted(DETAILS[code])}"
        for code, made in _by_code().items()
        if code in DETAILS
        for one in made
        if one.keys - (OWN.get(one.backend, frozenset()) - DETAILS[code]) != DETAILS[code]
    ]
    assert wrong == []


def test_what_two_backends_refuse_is_made_once() -> None:
    twice = {
        code: [one.where for one in made if one.backend]
        for code, made in _by_code().items()
        if len({one.backend for one in made if one.backend}) > 1 and code not in _OWN_WORDS
    }
    assert twice == {}


@pytest.mark.parametrize(
    "details", [{}, {"disk": "vda"}, {"disk": "vda", "progress": [0, 0], "status": 1}, {"disk": "vda", "job": 1}]
)
def test_a_backend_whose_details_differ_is_red(details: dict[str, Any]) -> None:
    entry = {"error_code": "block_job_active", "msg": "busy", "details": details}
    with pytest.raises(AssertionError, match="recorded are"):
        check("libvirt", {"failed": True, "error_code": "block_job_active", "vms": [entry]})
