# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of a take, a removal and a revert at which something is killed: what the libvirt backend calls, as module:name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_TAKE = (
    "operations.take_steps:create_overlay",
    "operations.take_steps:Taking._switch",
    "operations.take_steps:saved",
    "operations.take_steps:Taking._write_record",
    "operations.take_steps:Taking._verify",
)
_REMOVE = (
    "operations.remove:carry_out",
    "operations.remove:forget",
    "vm_handle:VmHandle.agree",
    "vm_handle:VmHandle.define",
    "vm_handle:VmHandle.unlink",
    "operations.remove:close_record",
)
# Where the VM's present stays in the file it is in, it is not defined anew.
_IN_PLACE = tuple(step for step in _REMOVE if step != "vm_handle:VmHandle.define")
_RUNNING = (
    "merge.merge_layers:commit_block",
    "merge.live_commit:_wait",
    "merge.live_commit:_pivot",
    "merge.live_commit:_verify",
)
_OFF = ("merge.merge_layers:commit_image", "merge.merge_layers:rebase_unsafe")
_REVERT = (
    "operations.start_or_go_back:create_overlay",
    "operations.revert:Revert._finish",
    "operations.revert:stop",
    "vm_handle:VmHandle.define",
    "operations.revert:carry_out",
    "vm_handle:VmHandle.agree",
    "vm_handle:VmHandle.unlink",
    "operations.revert:close_record",
    "operations.revert:start",
)
# What is done, at which steps something is killed, and whether the VM runs.
WORK = {
    "take": ({"name": "new"}, _TAKE[1:], True),
    "take of a VM that is off": ({"name": "new"}, _TAKE, False),
    "removal of the newest": ({"name": "s2", "state": "absent"}, (*_REMOVE, *_RUNNING), True),
    "removal from the middle": ({"name": "s1", "state": "absent"}, (*_IN_PLACE, *_RUNNING[:2], _RUNNING[3]), True),
    "removal of a VM that is off": ({"name": "s1", "state": "absent"}, (*_IN_PLACE, *_OFF), False),
    "removal of both at once": ({"name": "s1", "state": "absent", "children": True}, (*_REMOVE, *_RUNNING), True),
    "removal of both of a VM that is off": (
        {"name": "s1", "state": "absent", "children": True},
        (*_REMOVE, _OFF[0]),
        False,
    ),
    "revert": ({"name": "s1", "state": "reverted"}, _REVERT, True),
    "revert of a VM that is off": ({"name": "s1", "state": "reverted"}, _REVERT[:-1], False),
}


def going(options: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the snapshots that some work removes; s2 is based on s1."""
    if options.get("state") != "absent":
        return ()
    return ("s1", "s2") if options.get("children") else (options["name"],)


# From where on libvirt is asked to do something.
FIRST_CALLS = {
    "take": "operations.take_steps:Taking._switch",
    "removal of the newest": "merge.merge_layers:commit_block",
    "removal from the middle": "merge.merge_layers:commit_block",
    "revert": "operations.revert:stop",
}
