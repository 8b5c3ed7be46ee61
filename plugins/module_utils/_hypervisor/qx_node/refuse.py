# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a task may ask for and the agent cannot do, or does not tell: refused before the first request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError

_NO_TIMES = "the agent does not tell when a snapshot was taken: its times are those of the call"
# The values that ask for nothing, and why every other one cannot be had.
_OPTIONS: dict[str, tuple[tuple[Any, ...], str]] = {
    "disks": ((None,), "the agent takes all disks of a VM"),
    "on_uncovered": (("fail",), "the agent takes all disks of a VM"),
    "overlay_dir": ((None,), "the agent decides where overlays lie"),
    "protected": ((None,), "the agent keeps no protection"),
    "labels": ((None,), "the agent keeps no labels"),
    "power": (("restore",), "the agent decides in which state a VM is after a revert"),
    "children": ((False,), "the agent does not tell which snapshots are based on which; remove them by name"),
    "bandwidth": ((0,), "the agent merges as fast as it can"),
    "older_than": ((None,), f"{_NO_TIMES}, and no snapshot is removed for an age that is not known"),
    "keep_last": ((None, 0), f"{_NO_TIMES}, so that which are the newest is not known"),
    "orphans": ((False,), "the agent does not tell which files there are"),
    "detached": ((False,), "the agent does not tell which files there are"),
    "exclusive_dirs": (([],), "the agent does not tell which files there are"),
}
_QUIESCE = "the agent's answer does not tell whether the guest was frozen; auto asks for it and says so"
_FOREIGN = (
    "the agent does not tell who took a snapshot; with include_foreign: true those of others go too, and names and "
    "protect say which are meant"
)


def refuse(params: Mapping[str, Any]) -> None:
    """Raise ``not_supported`` for what the task asks for explicitly and nobody could promise."""
    reasons = {
        option: reason
        for option, (nothing, reason) in _OPTIONS.items()
        if option in params and params[option] not in nothing
    }
    if params.get("quiesce") == "required":
        reasons["quiesce: required"] = _QUIESCE
    if params.get("include_foreign") is False and not reasons:
        reasons["include_foreign: false"] = _FOREIGN
    if reasons:
        raise not_supported("; ".join(f"{option} ({reason})" for option, reason in reasons.items()), *reasons)


def not_supported(what: str, *options: str) -> KvmError:
    """Return the error for what cannot be had through the agent."""
    remedy = (
        "Nothing was changed, and the agent was not asked. Leave it out, or use backend: libvirt on the host itself."
    )
    return KvmError(
        "not_supported",
        f"Not to be had through the agent: {what}.",
        remedy,
        options=[one.split(":")[0] for one in options],
    )
