# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM's snapshots as text, for the diff: before and after are drawn the same way, and a check foretells what a run shows."""

from __future__ import annotations

import json
from collections.abc import Sequence

from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import Snapshot


def tree_text(snapshots: Sequence[Snapshot]) -> str:
    """Draw snapshots as an indented tree, a line each, siblings in their order.

    Only what is known before a snapshot is taken is drawn: the diff of a check and of the run after it are the same.
    """
    names = {snapshot.name for snapshot in snapshots}
    lines: list[str] = []
    for parent in (None, *sorted({one.parent for one in snapshots if one.parent and one.parent not in names})):
        _draw(snapshots, parent, "", lines)
    return "".join(line + "\n" for line in lines)


def noted_text(snapshots: Sequence[Snapshot], others: Sequence[Snapshot]) -> str:
    """Return what is noted of snapshots and is noted otherwise of the same ones on the other side, a line each."""
    same = {(one.name, one.created_at): one for one in others}
    lines = []
    for one in snapshots:
        other = same.get((one.name, one.created_at), one)
        if one.told("description") != other.told("description"):
            lines.append(f"description of {one.name}: {json.dumps(one.description, ensure_ascii=False)}\n")
        if one.told("expires") != other.told("expires"):
            lines.append(f"{one.name} expires: {one.expires or 'never'}\n")
    return "".join(lines)


def _draw(snapshots: Sequence[Snapshot], parent: str | None, indent: str, lines: list[str]) -> None:
    for snapshot in snapshots:
        if snapshot.parent == parent:
            parts = ", ".join(_parts(snapshot))
            lines.append(f"{indent}{snapshot.name}: {parts}" if parts else f"{indent}{snapshot.name}")
            _draw(snapshots, snapshot.name, indent + "  ", lines)


def _parts(snapshot: Snapshot) -> list[str]:
    """Return what is known of a snapshot, a word or two each."""
    parts = [] if "include_memory" in snapshot.untold else ["with memory" if snapshot.include_memory else "disk-only"]
    if "disks" not in snapshot.untold:
        parts.append(", ".join(disk.target for disk in snapshot.disks) or "no disk")
    parts += ["protected"] if snapshot.protected else []
    parts += [f"{key}={value}" for key, value in sorted(snapshot.labels.items())]
    return parts + (["current"] if snapshot.told("current") else [])
