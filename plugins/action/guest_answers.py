# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a command can be run on the host: asked again and again, over a new connection each time."""

from __future__ import annotations

import time
from typing import Any, Optional

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible.plugins.connection import ConnectionBase

_PAUSE = 2.0
_DEFAULT = 300


class ActionModule(ActionBase):
    """Ask the host until it answers. No module is sent there: a guest may lack Python."""

    TRANSFERS_FILES = False
    _VALID_ARGS = frozenset(("timeout",))

    def run(self, tmp: Optional[str] = None, task_vars: Optional[dict[str, Any]] = None) -> dict[str, Any]:
        """Run the task."""
        super().run(tmp, task_vars)
        seconds = int(self._task.args.get("timeout", _DEFAULT))
        began = time.monotonic()
        while True:
            reason = self._why_not()
            elapsed = round(time.monotonic() - began)
            if reason is None:
                return {"changed": False, "elapsed": elapsed}
            if elapsed >= seconds:
                message = f"The guest did not answer for {elapsed} seconds: {reason}"
                return {"failed": True, "msg": message, "changed": False, "elapsed": elapsed}
            time.sleep(_PAUSE)

    def _why_not(self) -> Optional[str]:
        """Return None if the host answers, else the reason."""
        try:
            # One that the guest held before it was booted again would wait for an answer that never comes.
            if type(self._connection).reset is not ConnectionBase.reset:
                self._connection.reset()
            said = self._low_level_execute_command("exit 0", sudoable=False)
        except AnsibleError as error:
            return str(error)
        return None if said.get("rc") == 0 else str(said.get("stderr") or said.get("stdout") or said)
