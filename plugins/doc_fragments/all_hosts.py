# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of the filters that read what all hosts told, documented once."""

from __future__ import annotations


class ModuleDocFragment:
    """What these filters have in common."""

    DOCUMENTATION = r"""
options:
  _input:
    description: The variables of all hosts, C(hostvars).
    type: dict
    required: true
  hosts:
    description: The names of the hosts that were meant. One that told nothing is unknown.
    type: list
    elements: str
    required: true
"""

    REGISTERED = r"""
options:
  registered:
    description: The variable in which the result of M(limiquantix.kvm.vm_snapshot_info) was registered.
    type: str
    required: true
"""
