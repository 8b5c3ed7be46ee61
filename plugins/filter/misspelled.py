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
  - Returns the names that are unknown but nearly equal to a known one, which somebody probably meant.
  - Nearly equal are names that differ only in C(_) or C(-), in upper and lower case or in a plural C(s), or by one typing
    error - a missing, additional, wrong or swapped character. In long names, and before the first C(_), two errors count.
  - The playbooks of this collection check their variables with it before they touch any host.
author:
  - The limiquantix.kvm founders (@limiquantix)
positional: known
options:
  _input:
    description: The names to check, such as those of all variables.
    type: list
    elements: str
    required: true
  known:
    description: The correct names.
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
  description: The misspelled names, each with the known name that is nearest.
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
