# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make one document of what vm_snapshot_info told on every host."""

from __future__ import annotations

DOCUMENTATION = r"""
name: fleet_report
short_description: Make one report of what every host tells of its snapshots
version_added: 0.1.0
description:
  - Takes what M(limiquantix.kvm.vm_snapshot_info) returned on each host, and returns one JSON text with all of it, and with what
    needs a hand before it.
  - The text may stand in a file, in a C(script) element of a web page and in a template. It has no character in it that could end
    the element or begin an expression, whatever VMs and snapshots are called.
  - The playbook C(limiquantix.kvm.report) makes its page with it.
extends_documentation_fragment:
  - limiquantix.kvm.all_hosts
  - limiquantix.kvm.all_hosts.registered
author:
  - The limiquantix.kvm founders (@limiquantix)
positional: hosts, registered
options:
  now:
    description: The time of the report in ISO 8601, such as V(2026-11-26T16:00:00+00:00). The default is now.
    type: str
"""

EXAMPLES = r"""
- name: Keep what the fleet tells
  ansible.builtin.template:
    src: fleet.json.j2 # {{ hostvars | limiquantix.kvm.fleet_report(ansible_play_hosts_all, 'snapshots') }}
    dest: fleet.json
    mode: "0640"
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
_value:
  description:
    - The report as JSON text, with C(made_at), C(word) (V(act), V(look) or V(ok)), C(line) (all in one line), C(counts),
      C(findings) (each with C(word), C(kind), C(host), C(vm) and C(text)) and C(hosts). One about a whole host has no C(vm).
      One about a name that no host has, has the name as C(vm) and no C(host).
    - Each host has C(known), which is V(false) if it could not be read, C(msg), C(filesystems) and C(vms), as
      M(limiquantix.kvm.vm_snapshot_info) returned them.
  type: str
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from typing import Any, Callable, Optional

from ansible_collections.limiquantix.kvm.plugins.plugin_utils.fleet_report import as_text, document
from ansible_collections.limiquantix.kvm.plugins.plugin_utils.host_variables import registered_on


def fleet_report(
    hostvars: Mapping[str, Mapping[str, Any]], hosts: Iterable[str], registered: str, now: Optional[str] = None
) -> str:
    """Return the report on what was registered on the hosts, as JSON text."""
    date = datetime.fromisoformat(now) if now else datetime.now(timezone.utc)
    return as_text(document(registered_on(hostvars, hosts, registered), date))


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters of this file."""
        return {"fleet_report": fleet_report}
