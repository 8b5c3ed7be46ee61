# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a task with an appointment only the controller can do: read a host's clock. All else the module does on the host."""

from __future__ import annotations

import time
from typing import Any, Optional

from ansible.errors import AnsibleActionFail
from ansible.module_utils.common.text.converters import to_text
from ansible.plugins.action.normal import ActionModule as NormalAction

from ansible_collections.limiquantix.kvm.plugins.plugin_utils.group import Sample, reading

_TIMES = 10
# Nothing but this is started there: each millisecond that the answer takes is one that nobody knows.
_ASK = "cat /proc/uptime /proc/sys/kernel/random/boot_id"


class ActionModule(NormalAction):
    """Run the module as any other, or read the host's clock over the connection that is open."""

    def run(self, tmp: Optional[str] = None, task_vars: Optional[dict[str, Any]] = None) -> dict[str, Any]:
        """Run the task. Raises `AnsibleActionFail` for labels that an empty variable has left without a value."""
        if (
            "labels" in self._task.args
            and self._task.args["labels"] is None
            and self._task.args.get("state") == "absent"
        ):
            raise AnsibleActionFail(
                "labels of vm_snapshot has no value: more snapshots would go than are meant. Nothing was changed. Look for an "
                "empty variable, or leave the option out."
            )
        asked = self._task.args.get("appointment")
        if isinstance(asked, dict) and asked.get("step") == "clock":
            return {"changed": False, "clock": self._clock()}
        result: dict[str, Any] = super().run(tmp, task_vars)
        return result

    def _clock(self) -> dict[str, Any]:
        samples, boot_id = [], ""
        for _number in range(_TIMES):
            sample, boot_id = self._ask()
            samples.append(sample)
        return reading(samples, boot_id)

    def _ask(self) -> tuple[Sample, str]:
        asked = time.monotonic()
        status, said, error = self._connection.exec_command(_ASK, in_data=None, sudoable=False)
        answered = time.monotonic()
        words = to_text(said).split()
        if status or len(words) < 2:
            raise AnsibleActionFail(
                f"The host's clock cannot be read: {to_text(error).strip() or to_text(said).strip()}."
            )
        return (asked, float(words[0]), answered), words[-1]
