# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a task may ask for and the agent cannot do, or does not tell: refused before the first request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError

_NO_TIMES = "qx-node does not tell when a snapshot was taken: it answers with the time of the request"
# The values that ask for nothing, and why every other one cannot be had.
_OPTIONS: dict[str, tuple[tuple[Any, ...], str]] = {
    "disks": ((None,), "qx-node takes all disks of a VM"),
    "on_uncovered": (("fail",), "qx-node takes all disks of a VM"),
    "overlay_dir": ((None,), "qx-node decides where the overlays are"),
    "protected": ((None,), "qx-node keeps no protection"),
    "labels": ((None,), "qx-node keeps no labels"),
    "expires": ((None,), "qx-node does not keep when a snapshot expires"),
    "power": (("restore",), "qx-node decides whether a VM runs after a revert"),
    "children": ((False,), "qx-node does not tell which snapshots are based on which; remove them by name"),
    "bandwidth": ((0,), "qx-node merges as fast as it can"),
    "apparmor": (("respect",), "qx-node merges by itself, and changes no AppArmor profile"),
    "appointment": ((None,), "qx-node takes each VM by itself, and not at an appointed moment"),
    "older_than": ((None,), f"{_NO_TIMES}, and a snapshot of unknown age is never removed for its age"),
    "keep_last": ((None, 0), f"{_NO_TIMES}, so nobody knows which are the newest"),
    **{
        f"keep_{rule}": ((None, 0), f"{_NO_TIMES}, so nobody knows which are of one period")
        for rule in ("hourly", "daily", "weekly", "monthly", "yearly")
    },
    "expired": ((False,), "qx-node does not keep when a snapshot expires"),
    "orphans": ((False,), "qx-node does not tell which files there are"),
    "detached": ((False,), "qx-node does not tell which files there are"),
    "exclusive_dirs": (([],), "qx-node does not tell which files there are"),
}
_SELECTING = ("keep_", "older_than", "expired", "labels")  # what says which snapshots stay
_QUIESCE = "qx-node does not tell whether the guest was frozen; quiesce: auto asks for it and says so"
_FOREIGN = (
    "qx-node does not tell who took a snapshot; give include_foreign: true, which includes those of "
    "others, and select with names and protect"
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
    remedy = "Nothing was changed, and qx-node was not asked. Leave it out, or use backend: libvirt on the host itself."
    if any(one.startswith(_SELECTING) for one in options):  # with names alone every snapshot of those names goes
        remedy = (
            "Nothing was changed, and qx-node was not asked. Use backend: libvirt on the host itself. Do not just leave it out: "
            "the task would remove more snapshots."
        )
    return KvmError(
        "not_supported",
        f"qx-node cannot do this: {what}.",
        remedy,
        options=[one.split(":")[0] for one in options],
    )


MEMORY_BESIDE_OTHERS = (
    "qx-node loses saved memory when an earlier snapshot is removed, because it keeps it inside the VM's overlay"
)


def memory_beside_others(vm: str) -> KvmError:
    """Return the error for memory of a VM that has snapshots: deployed versions make it internal, in what the VM is on."""
    return KvmError(
        "not_supported",
        f"{vm} has snapshots already, and {MEMORY_BESIDE_OTHERS}.",
        "Nothing was changed. Leave include_memory out, or use backend: libvirt on the host itself.",
        options=["include_memory"],
    )
