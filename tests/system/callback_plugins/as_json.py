# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prints each host's result as one line of JSON, whole: Ansible's own callbacks leave out `diff` and cut lines up."""

from __future__ import annotations

import json
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: as_json
type: stdout
short_description: each result as a line of JSON, for the system tests
description:
  - Used by C(tests/system/ansible_run.py) only.
"""


class CallbackModule(CallbackBase):
    """One line for each host, whatever became of it."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "as_json"

    def _show(self, result: Any, **facts: bool) -> None:
        values = {key: value for key, value in result.result.items() if not key.startswith("_ansible")}
        self._display.display(json.dumps({**facts, **values, "host": result.host.get_name()}, default=str))

    def v2_runner_on_ok(self, result: Any) -> None:
        self._show(result, failed=False)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._show(result, failed=True)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._show(result, failed=True, unreachable=True)
