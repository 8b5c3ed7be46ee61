# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a module returns, computed once from before and after, so that check mode, real run and diff cannot disagree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.limiquantix.kvm.plugins.module_utils._errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._snapshot import DomainId, Snapshot, SnapshotRequest


@dataclass(frozen=True)
class VmOutcome:
    """One VM before and after a task, and what to say of it."""

    domain: DomainId
    before: tuple[Snapshot, ...]
    after: tuple[Snapshot, ...]
    snapshot: Snapshot | None
    msg: str
    notes: tuple[str, ...] = ()
    error: KvmError | None = None

    @property
    def changed(self) -> bool:
        """Whether the VM's snapshots are others than before."""
        return tree_text(self.before) != tree_text(self.after)

    def to_result(self) -> dict[str, Any]:
        """Return the VM's entry in ``vms``."""
        snapshot = self.snapshot
        return {
            "vm": self.domain.name,
            "uuid": self.domain.uuid,
            "changed": self.changed,
            "failed": self.error is not None,
            "error_code": self.error.error_code if self.error else None,
            "details": self.error.details if self.error else {},
            "msg": self.msg,
            "notes": list(self.notes),
            "disk_only": not snapshot.include_memory if snapshot else None,
            "quiesced": snapshot.quiesced if snapshot else None,
            "snapshot": snapshot.to_result() if snapshot else None,
        }


def outcome(request: SnapshotRequest, vms: Sequence[VmOutcome], check_mode: bool) -> dict[str, Any]:
    """Return the whole result of a task; ``failed`` and ``error_code`` are in it when a VM failed."""
    result: dict[str, Any] = {
        "changed": any(vm.changed for vm in vms),
        "disk_only": request.disk_only,
        "msg": _summary(request, vms, check_mode),
        "diff": [_diff(vm) for vm in vms if vm.changed],
        "vms": [vm.to_result() for vm in vms],
    }
    codes = {vm.error.error_code for vm in vms if vm.error}
    if codes:
        result.update(failed=True, error_code=codes.pop() if len(codes) == 1 else "several")
    return result


def tree_text(snapshots: Sequence[Snapshot]) -> str:
    """Draw snapshots as an indented tree, a line each, siblings in their order.

    Only what is known before a snapshot is taken is drawn: the diff of a check and of the run after it are the same.
    """
    names = {snapshot.name for snapshot in snapshots}
    lines: list[str] = []
    for parent in (None, *sorted({one.parent for one in snapshots if one.parent and one.parent not in names})):
        _draw(snapshots, parent, "", lines)
    return "".join(line + "\n" for line in lines)


def _draw(snapshots: Sequence[Snapshot], parent: str | None, indent: str, lines: list[str]) -> None:
    for snapshot in snapshots:
        if snapshot.parent == parent:
            memory = "with memory" if snapshot.include_memory else "disk-only"
            disks = ", ".join(disk.target for disk in snapshot.disks) or "no disk"
            mark = ", current" if snapshot.current else ""
            lines.append(f"{indent}{snapshot.name}: {memory}, {disks}{mark}")
            _draw(snapshots, snapshot.name, indent + "  ", lines)


def _diff(vm: VmOutcome) -> dict[str, str]:
    header = f"snapshots of {vm.domain.name}"
    return {
        "before_header": header,
        "after_header": header,
        "before": tree_text(vm.before),
        "after": tree_text(vm.after),
    }


def _summary(request: SnapshotRequest, vms: Sequence[VmOutcome], check_mode: bool) -> str:
    kind = "disk-only" if request.disk_only else "with memory"
    counts = Counter("failed" if vm.error else "taken" if vm.changed else "unchanged" for vm in vms)
    words = {"taken": "would be taken" if check_mode else "taken", "unchanged": "unchanged", "failed": "FAILED"}
    parts = [f"{counts[key]} {word}" for key, word in words.items() if counts[key]]
    text = f"snapshot {request.name!r} ({kind}) of {len(vms)} VM{'s' if len(vms) != 1 else ''}: {', '.join(parts)}"
    failures = [f"{vm.domain.name}: {vm.msg}" for vm in vms if vm.error]
    if not failures:
        return text
    more = f" (and {len(failures) - 3} more, see vms)" if len(failures) > 3 else ""
    return f"{text}. {' '.join(failures[:3])}{more}"
