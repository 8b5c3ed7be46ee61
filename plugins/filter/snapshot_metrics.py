# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write what vm_snapshot_info told of a host as Prometheus reads it."""

from __future__ import annotations

DOCUMENTATION = r"""
name: snapshot_metrics
short_description: Write what a host tells of its snapshots as Prometheus reads it
version_added: 0.1.0
description:
  - Returns what M(limiquantix.kvm.vm_snapshot_info) returned on one host in the text format of Prometheus, for the textfile
    collector of node_exporter. The role P(limiquantix.kvm.metrics#role) puts it there.
  - What is not known, such as what qx-node does not tell, has no sample.
author:
  - The limiquantix.kvm founders (@limiquantix)
positional: now
options:
  _input:
    description: What M(limiquantix.kvm.vm_snapshot_info) returned.
    type: dict
    required: true
  now:
    description: When that was, in ISO 8601, such as V(2026-11-26T16:00:00+00:00). The default is now.
    type: str
"""

EXAMPLES = r"""
- name: Read the snapshots
  limiquantix.kvm.vm_snapshot_info:
  register: snapshots

- name: Tell Prometheus
  ansible.builtin.copy:
    content: "{{ snapshots | limiquantix.kvm.snapshot_metrics }}"
    dest: /var/lib/prometheus/node-exporter/limiquantix_kvm.prom
    mode: "0644"
"""

RETURN = r"""
_value:
  description: The samples as text, each metric with its help and its type before it.
  type: str
"""

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any, Callable, Optional

from ansible_collections.limiquantix.kvm.plugins.plugin_utils.metrics import metrics


def snapshot_metrics(found: Mapping[str, Any], now: Optional[str] = None) -> str:
    """Return what was found as Prometheus reads it."""
    return metrics(found, datetime.fromisoformat(now) if now else datetime.now(timezone.utc))


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters of this file."""
        return {"snapshot_metrics": snapshot_metrics}
