# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the playbooks over groups of VMs ask of what all hosts told."""

from __future__ import annotations

DOCUMENTATION = r"""
name: snapshot_group
short_description: Decide about a group of VMs by what all hosts told
version_added: 0.1.0
description:
  - The playbooks C(limiquantix.kvm.snapshot_group), C(limiquantix.kvm.revert_group) and C(limiquantix.kvm.remove_group) ask it,
    and nobody else needs to. It reads their own variables.
extends_documentation_fragment:
  - limiquantix.kvm.all_hosts
author:
  - The limiquantix.kvm founders (@limiquantix)
positional: question, hosts
options:
  question:
    description:
      - V(pending) asks what becomes of groups that an earlier run left, V(whole) whether the selected VMs are one group.
      - V(appointment) asks when which host does what, V(verdict) whether that was one moment.
    type: str
    choices: [pending, whole, appointment, verdict]
    required: true
  name:
    description: The name of the snapshot.
    type: str
    default: ""
  max_hold:
    description: How many seconds the VMs may be held at most.
    type: float
    default: 5
  whole_hold:
    description: Whether to take all of that time.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Was it one moment?
  ansible.builtin.debug:
    msg: "{{ hostvars | limiquantix.kvm.snapshot_group('verdict', ansible_play_hosts_all) }}"
  run_once: true
"""

RETURN = r"""
_value:
  description: The answer, a list for V(pending), otherwise a dictionary.
  type: raw
"""

import time
from collections.abc import Iterable, Mapping
from typing import Any, Callable

from ansible_collections.limiquantix.kvm.plugins.plugin_utils.group import appointment, pending, verdict, whole
from ansible_collections.limiquantix.kvm.plugins.plugin_utils.host_variables import of_hosts


def snapshot_group(
    hostvars: Mapping[str, Mapping[str, Any]],
    question: str,
    hosts: Iterable[str],
    *,
    name: str = "",
    max_hold: float = 5,
    whole_hold: bool = False,
) -> Any:
    """Return the answer."""
    known = of_hosts(hostvars, hosts)
    members = {host: here for host, one in known.items() if (here := one.get("snapshot_members"))}
    looked = {host: one["snapshot_look"] for host, one in known.items() if _answered(one.get("snapshot_look"))}
    if question == "pending":
        return pending(looked, name)
    if question == "whole":
        return whole(looked, name, members)
    if question == "appointment":
        clocks = {host: known[host]["snapshot_clock"]["clock"] for host in members}
        freezes = any(_may_freeze(known[host]["snapshot_planned"]) for host in members)
        return appointment(clocks, members, float(max_hold), time.monotonic(), freezes=freezes, whole=whole_hold)
    told = {
        host: {
            "before": (known[host].get("snapshot_clock") or {}).get("clock"),
            "after": (known[host].get("snapshot_clock_after") or {}).get("clock"),
            "taken": known[host].get("snapshot_taken"),
        }
        for host in members
    }
    group = next(iter(known.values()))["snapshot_appointment"]["group"]
    return verdict(members, told, group)


def _answered(look: Any) -> bool:
    return isinstance(look, Mapping) and "vms" in look and ("error_code" not in look or bool(look["vms"]))


def _may_freeze(planned: Mapping[str, Any]) -> bool:
    """Whether a guest of the plan will be frozen: only then it is not known beforehand whether that succeeds."""
    return any(vm["quiesced"] is None for vm in planned["vms"])


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters of this file."""
        return {"snapshot_group": snapshot_group}
