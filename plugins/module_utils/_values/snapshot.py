# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a snapshot is, as it stands or, in check mode, as it would stand.

Everything is frozen, and ``to_result()`` is the only place that names return keys.
Sizes are bytes, times are ISO 8601 in UTC, and what is not known is ``None``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Optional

_NAMED = 5  # of many snapshots, so many are named


def named_snapshots(names: Sequence[str]) -> str:
    """Return one or several snapshots as text."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"snapshot{'s' if len(names) > 1 else ''} {', '.join(map(repr, names[:_NAMED]))}{more}"


@dataclass(frozen=True)
class SnapshotDisk:
    """A disk in a snapshot.

    ``file`` is the overlay that takes the writes made since, ``size`` what that occupies now, and ``base`` the image
    under it, which holds the state. The overlay of a leaf is gone once the VM has been reverted to elsewhere.
    """

    target: str
    file: Optional[str]
    format: Optional[str]
    size: Optional[int]
    base: Optional[str] = None


@dataclass(frozen=True)
class LeftOut:
    """Something of the VM that a snapshot does not hold, and why.

    ``target`` is a disk, ``nvram``, ``tpm``, the tag of a shared folder, or says which device it is.
    """

    target: str
    reason: str


@dataclass(frozen=True)
class Snapshot:
    """One snapshot of one VM, as it stands (or, in check mode, as it would stand).

    ``owned`` is one that this collection took; ``protected``, ``labels`` and ``expires`` (None: never) are what it was told to
    note of it.
    ``nvram`` is the copy of the UEFI variables that it has, ``tpm`` that of the state of the TPM.
    ``past`` tells whether what it holds is as it was, unchanged, changed or unproven, and ``past_reasons`` why it is not.
    ``untold`` names the keys that the hypervisor does not tell: their values here mean nothing, and are null in results.
    """

    name: str
    description: str = ""
    created_at: Optional[str] = None
    parent: Optional[str] = None
    current: bool = False
    state: str = "unknown"
    kind: str = "external"
    include_memory: bool = False
    quiesced: Optional[bool] = None
    disks: tuple[SnapshotDisk, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    memory_file: Optional[str] = None
    nvram: Optional[str] = None
    tpm: Optional[str] = None
    missing_files: tuple[str, ...] = ()
    owned: bool = False
    protected: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    expires: Optional[str] = None
    past: str = "unchanged"
    past_reasons: tuple[str, ...] = ()
    untold: tuple[str, ...] = ()

    @property
    def firmware_copies(self) -> dict[str, str]:
        """The copies that it has of what the VM's firmware keeps, by what results call that."""
        return {part: file for part, file in (("nvram", self.nvram), ("tpm", self.tpm)) if file}

    def told(self, key: str) -> Any:
        """Return a value, None where the hypervisor does not tell it."""
        return None if key in self.untold else getattr(self, key)

    def to_result(self) -> dict[str, Any]:
        """Return the ``snapshot`` of a module's result."""
        result = asdict(self)
        for key in ("disks", "left_out", "missing_files", "past_reasons"):
            result[key] = list(result[key])
        untold = result.pop("untold")
        return {**result, **dict.fromkeys(untold)}


def in_tree_order(snapshots: Sequence[Snapshot]) -> tuple[Snapshot, ...]:
    """Sort snapshots so that a parent comes before its children, siblings by the time they were taken."""
    names = {snapshot.name for snapshot in snapshots}
    children: dict[str | None, list[Snapshot]] = {}
    for snapshot in sorted(snapshots, key=lambda one: (one.created_at or "", one.name)):
        # A parent that is not there must not hide what was based on it.
        children.setdefault(snapshot.parent if snapshot.parent in names else None, []).append(snapshot)
    ordered: list[Snapshot] = []
    waiting = list(reversed(children.get(None, [])))
    while waiting:
        snapshot = waiting.pop()
        ordered.append(snapshot)
        waiting.extend(reversed(children.get(snapshot.name, [])))
    return tuple(ordered)
