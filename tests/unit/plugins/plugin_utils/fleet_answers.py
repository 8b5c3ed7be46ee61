# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What vm_snapshot_info tells of VMs, for the report on a fleet."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

NOW = datetime(2026, 11, 26, 16, tzinfo=timezone.utc)
OPERATION = {
    "kind": "remove",
    "snapshot": "s",
    "started_at": "2026-11-26T15:00:00+00:00",
    "percent": 42,
    "seconds_left": 180,
}


def vm(name: str = "web01", **values: Any) -> dict[str, Any]:
    """Return a VM's entry of vm_snapshot_info, with nothing wrong."""
    empty: dict[str, Any] = {
        key: []
        for key in (
            "snapshots",
            "tree",
            "chains",
            "problems",
            "missing_files",
            "kept",
            "orphans",
            "unknown_overlays",
            "notes",
        )
    }
    return {
        **empty, "vm": name, "uuid": name, "failed": False, "msg": "ok", "look": "ok", "state": "running", "operation": None,
        **values,
    }  # fmt: skip


def told(*vms: dict[str, Any], **values: Any) -> dict[str, Any]:
    return {"vms": list(vms), "msg": "fine", "filesystems": [], **values}


def snapshot(name: str = "s", **values: Any) -> dict[str, Any]:
    return {"name": name, "past": "unchanged", "past_reasons": [], **values}
