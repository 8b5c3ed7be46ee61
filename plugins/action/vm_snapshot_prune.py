# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of vm_snapshot_prune only the controller knows: the time zone that it is in. All else the module does on the host."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Optional

from ansible.errors import AnsibleActionFail
from ansible.plugins.action.normal import ActionModule as NormalAction

_BY_PERIOD = ("keep_hourly", "keep_daily", "keep_weekly", "keep_monthly", "keep_yearly")
_RULES = (*_BY_PERIOD, "keep_last", "older_than", "names", "labels", "expired")
_LOCALTIME = "/etc/localtime"
_NAMED = "/etc/timezone"
_ZONES = "/zoneinfo/"


class ActionModule(NormalAction):
    """Run the module as any other, and tell it the controller's zone if it needs one and the task gives none."""

    def run(self, tmp: Optional[str] = None, task_vars: Optional[dict[str, Any]] = None) -> dict[str, Any]:
        """Run the task. Raises `AnsibleActionFail` for a rule that an empty variable has left without a value."""
        empty = [option for option in _RULES if option in self._task.args and self._task.args[option] is None]
        if empty:
            raise AnsibleActionFail(
                f"{' and '.join(empty)} of vm_snapshot_prune has no value: more snapshots would go than are meant. Nothing was "
                "changed. Look for an empty variable, or leave the option out."
            )
        self._task.args = with_zone(self._task.args, os.environ)
        result: dict[str, Any] = super().run(tmp, task_vars)
        return result


def with_zone(arguments: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the task's arguments, with the controller's zone where a rule needs one and none is given."""
    needed = any(arguments.get(option) is not None for option in _BY_PERIOD)
    zone = local_zone(environment) if needed and arguments.get("timezone") is None else None
    return {**arguments, "timezone": zone} if zone else dict(arguments)


def local_zone(environment: Mapping[str, str], localtime: str = _LOCALTIME, named: str = _NAMED) -> Optional[str]:
    """Return the name of this machine's zone as the C library finds it, None where it has no name."""
    given = environment.get("TZ")
    if given is not None:  # empty: UTC
        return _in_zones(given.lstrip(":")) or "UTC"
    if os.path.islink(localtime):
        # Not its real path: many zones have links to them, and those are what people call them.
        target = os.path.join(os.path.dirname(localtime), os.readlink(localtime))
        return target.rpartition(_ZONES)[2] if _ZONES in target else None
    if os.path.lexists(localtime):  # a copy, of which only Debian notes the name
        return _read(named)
    return "UTC"


def _in_zones(path: str) -> str:
    return path.rpartition(_ZONES)[2] if _ZONES in path else path


def _read(path: str) -> Optional[str]:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().strip() or None
    except (OSError, ValueError):
        return None
