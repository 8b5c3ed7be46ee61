# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Say what is at work on the VMs of all hosts, and how long it will take."""

from __future__ import annotations

DOCUMENTATION = r"""
name: fleet_work
short_description: Say what is at work on the VMs of all hosts
version_added: 0.1.0
description:
  - Takes what M(limiquantix.kvm.vm_snapshot_info) returned on each host at this moment, and what this filter returned the last
    time, and says what this collection is doing on which VM, how far that is and about how long it takes.
  - The playbook C(limiquantix.kvm.watch) asks again and again with it.
extends_documentation_fragment:
  - limiquantix.kvm.all_hosts
  - limiquantix.kvm.all_hosts.registered
author:
  - The limiquantix.kvm founders (@limiquantix)
positional: hosts, registered, before
options:
  before:
    description: What this filter returned the last time. The time left is derived from how far a merge was then.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Compare with the last time
  ansible.builtin.set_fact:
    work: "{{ hostvars | limiquantix.kvm.fleet_work(ansible_play_hosts_all, 'snapshots', work | default({})) }}"
  run_once: true

- name: Say it
  ansible.builtin.debug:
    msg: "{{ work.lines }}"
  run_once: true
"""

RETURN = r"""
_value:
  description:
    - C(lines), one text for each VM on which something is at work, and for each host or VM that is unknown; C(running),
      C(interrupted) and C(unknown), lists of where that is; C(left), all of it in one line; C(seconds), the time since
      the filter was first asked; C(idle), how often in a row nothing was at work and the same was unknown; C(vms), how many
      VMs there were.
    - The rest is for the next time.
  type: dict
"""

import time
from collections.abc import Iterable, Mapping
from typing import Any, Callable, Optional

from ansible_collections.limiquantix.kvm.plugins.plugin_utils.host_variables import registered_on
from ansible_collections.limiquantix.kvm.plugins.plugin_utils.watch import progress, told


def fleet_work(
    hostvars: Mapping[str, Mapping[str, Any]],
    hosts: Iterable[str],
    registered: str,
    before: Optional[Mapping[str, Any]] = None,
) -> dict[str, Any]:
    """Return what is at work, by what was registered on the hosts."""
    result = progress(registered_on(hostvars, hosts, registered), before or {}, time.monotonic())
    return {**result, "left": told(result)}


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters of this file."""
        return {"fleet_work": fleet_work}
