# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps what vm_snapshot and vm_snapshot_prune returned, a line of JSON for each host, for the demo and for tests of playbooks.

What is shown stays as it is.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: keep_results
type: aggregate
short_description: each result of vm_snapshot as a line of JSON in a file
description:
  - Used by C(dev/demo) and C(tests/system) only. The environment variable C(LIMIQUANTIX_KVM_RESULTS) names the file.
"""


class CallbackModule(CallbackBase):
    """One line for each host, whatever became of it."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "keep_results"

    def _keep(self, result: Any) -> None:
        if result.task.action not in ("limiquantix.kvm.vm_snapshot", "limiquantix.kvm.vm_snapshot_prune"):
            return
        values = {key: value for key, value in result.result.items() if not key.startswith("_ansible")}
        facts = {"host": result.host.get_name(), "libvirt": result.host.get_vars().get("libvirt_version", "")}
        with Path(os.environ["LIMIQUANTIX_KVM_RESULTS"]).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"vms": [], **values, **facts}, default=str) + "\n")

    def v2_runner_on_ok(self, result: Any) -> None:
        self._keep(result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._keep(result)
