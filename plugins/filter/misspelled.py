# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find names that are nearly known ones, so that a playbook can refuse a slip instead of falling back to a default."""

from __future__ import annotations

DOCUMENTATION = r"""
name: misspelled
short_description: Find names that are nearly known ones
version_added: 0.1.0
description:
  - Tells which names are not known, and so near to one that is that somebody must have meant that one.
  - Near are names that differ in C(_) or C(-), upper and lower case or a plural C(s), or by one typing error - a character that
    is left out, added, another one, or two that have changed places. It may be two errors in a long name, or before the
    first C(_).
  - The playbooks of this collection ask it about their variables before any host is touched.
author:
  - The limiquantix.kvm founders (@limiquantix)
positional: known
options:
  _input:
    description: The names, such as those of all variables.
    type: list
    elements: str
    required: true
  known:
    description: The names that are right.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Refuse snapshot_vm, which would leave snapshot_vms at its default
  ansible.builtin.assert:
    that: slips == {}
    fail_msg: "Misspelled: {{ slips }}"
  vars:
    slips: "{{ query('ansible.builtin.varnames', '.') | limiquantix.kvm.misspelled(['snapshot_vms', 'snapshot_name']) }}"
"""

RETURN = r"""
_value:
  description: The misspelled names, each with what was meant.
  type: dict
  sample: {snapshot_vm: snapshot_vms}
"""

import re
from collections.abc import Iterable
from typing import Any, Callable

_LONG = 6  # characters behind the first "_" of a known name that leave room for two errors


def misspelled(names: Iterable[str], known: Iterable[str]) -> dict[str, str]:
    """Return the names that are not known and nearly are, each with the known one that is nearest."""
    right = sorted(map(str, known))
    strange = sorted(set(map(str, names)).difference(right))
    near = {name: [one for one in right if _is_near(name, one)] for name in strange}
    return {name: min(ones, key=lambda one: distance(name, one)) for name, ones in near.items() if ones}


def _is_near(name: str, known: str) -> bool:
    # Most pairs of names are far from being one: told without counting errors.
    if abs(len(name) - len(known)) > 4 or len(set(name.lower()) ^ set(known)) > 4:
        return False
    return _bare(name) == _bare(known) or distance(name, known) <= _errors(name, known)


def _errors(name: str, known: str) -> int:
    tail = known.partition("_")[2]
    return 2 if len(tail) >= _LONG or (tail and name.endswith(f"_{tail}")) else 1


def _bare(name: str) -> str:
    return "".join(word[:-1] if word.endswith("s") else word for word in re.split(r"[_-]+", name.lower()))


def distance(one: str, other: str) -> int:
    """Return how many characters have to be added, left out, replaced or swapped with the next to get from one to the other."""
    before: list[int] = []
    last = list(range(len(other) + 1))
    for row, left in enumerate(one, 1):
        now = [row]
        for column, right in enumerate(other, 1):
            cost = min(last[column] + 1, now[-1] + 1, last[column - 1] + (left != right))
            if row > 1 and column > 1 and (left, one[row - 2]) == (other[column - 2], right):
                cost = min(cost, before[column - 2] + 1)
            now.append(cost)
        before, last = last, now
    return last[-1]


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters of this file."""
        return {"misspelled": misspelled}
