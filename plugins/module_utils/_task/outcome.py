# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a module returns, computed once from before and after, so that check mode, real run and diff cannot disagree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._task.drawn_tree import noted_text, tree_text
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.merge import MergeProgress
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.plan import Need, Resize
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.sizes import mebibytes
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import Snapshot
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import VirtualMachine, VmId


@dataclass(frozen=True)
class VmOutcome:
    """One VM before and after a task, and what to say of it.

    ``power`` is its state before and after; ``present`` the snapshot it was reverted to, whose tree may be as before;
    ``removed`` the snapshots and ``files_removed`` the files that went (or would), ``kept`` the snapshots, and the files by
    their paths, that were in question and stay, ``kept_because`` why snapshots do, ``orphans_removed`` the overlays that
    nothing used; ``recovered`` what was finished or undone first that an interrupted run had left. ``missing`` is one that is
    not on this host, and may be so. ``copied`` is how much merging copies at most, ``needs`` its room; ``merge`` goes on.
    """

    vm_id: VmId
    before: tuple[Snapshot, ...]
    after: tuple[Snapshot, ...]
    snapshot: Snapshot | None
    msg: str
    notes: tuple[str, ...] = ()
    error: KvmError | None = None
    power: tuple[str, str] = ("", "")
    present: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    files_removed: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    orphans_removed: tuple[str, ...] = ()
    recovered: str = ""
    missing: bool = False
    resized: tuple[Resize, ...] = ()
    kept_because: Mapping[str, Sequence[str]] = field(default_factory=dict)
    copied: Optional[int] = 0
    merge: Optional[MergeProgress] = None
    needs: tuple[Need, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether anything of the VM is other than before."""
        return self.before_text != self.after_text or bool(
            self.recovered or self.merge or (self.error and self.error.changed)
        )

    @property
    def before_text(self) -> str:
        """The VM before, as the diff shows it: its tree, its power state and sizes where these change, the files that go."""
        files = "".join(f"file: {file}\n" for file in self.files_removed)
        orphans = "".join(f"orphan: {file}\n" for file in self.orphans_removed)
        sizes = "".join(f"size of {disk.target}: {mebibytes(disk.before)}\n" for disk in self.resized)
        return (
            tree_text(self.before) + noted_text(self.before, self.after) + self._power_text(0) + sizes + files + orphans
        )

    @property
    def after_text(self) -> str:
        """The VM after, as the diff shows it."""
        reverted = "".join(f"reverted to: {name}\n" for name in self.present)
        sizes = "".join(f"size of {disk.target}: {mebibytes(disk.after)}\n" for disk in self.resized)
        return tree_text(self.after) + noted_text(self.after, self.before) + self._power_text(1) + sizes + reverted

    def _power_text(self, index: int) -> str:
        known = all(self.power)
        return f"power: {self.power[index]}\n" if known and self.power[0] != self.power[1] else ""

    def to_result(self) -> dict[str, Any]:
        """Return the VM's entry in ``vms``."""
        snapshot = self.snapshot
        with_memory = snapshot.told("include_memory") if snapshot else None
        return {
            "vm": self.vm_id.name,
            "uuid": self.vm_id.uuid,
            "changed": self.changed,
            "failed": self.error is not None,
            "error_code": self.error.error_code if self.error else None,
            "details": self.error.details if self.error else {},
            "msg": self.msg,
            "notes": list(self.notes),
            "recovered": self.recovered or None,
            "power": self.power[1] or None,
            "disk_only": None if with_memory is None else not with_memory,
            "quiesced": snapshot.told("quiesced") if snapshot else None,
            "snapshot": snapshot.to_result() if snapshot else None,
            "removed": list(self.removed),
            "kept": list(self.kept),
            "files_removed": list(self.files_removed),
            "merge": self.merge.to_result() if self.merge else None,
            "copied_bytes": self.copied,
        }


@dataclass(frozen=True)
class Wording:
    """How a task is told of: ``subject`` is what it is about, ``done`` what becomes of it (a participle).

    ``disk_only`` says which snapshots are asked for, None where none is to be taken.
    """

    subject: str
    done: str
    disk_only: bool | None = None


def outcome(wording: Wording, vms: Sequence[VmOutcome], check_mode: bool) -> dict[str, Any]:
    """Return the whole result of a task; ``failed`` and ``error_code`` are in it when a VM failed."""
    missing = [vm.vm_id.name for vm in vms if vm.missing]
    vms = [vm for vm in vms if not vm.missing]
    result: dict[str, Any] = {
        "changed": any(vm.changed for vm in vms),
        "disk_only": _disk_only(wording, vms),
        "msg": _summary(wording, vms, check_mode) + missing_text(missing),
        "diff": [_diff(vm) for vm in vms if vm.changed],
        "missing": missing,
        "vms": [vm.to_result() for vm in vms],
    }
    codes = {vm.error.error_code for vm in vms if vm.error}
    if codes:
        result.update(failed=True, error_code=codes.pop() if len(codes) == 1 else "several")
    return result


def _disk_only(wording: Wording, vms: Sequence[VmOutcome]) -> bool | None:
    """Return whether the snapshots of a task hold disks only: of VMs that differ None, without any what was asked for."""
    if wording.disk_only is None:
        return None
    found = {not memory for vm in vms if (memory := _with_memory(vm)) is not None} or {wording.disk_only}
    return found.pop() if len(found) == 1 else None


def _with_memory(vm: VmOutcome) -> bool | None:
    memory = vm.snapshot.told("include_memory") if vm.snapshot and not vm.error else None
    return None if memory is None else bool(memory)


def missing_vm(name: str) -> VmOutcome:
    """Return the outcome of a VM that is not here, and need not be."""
    return VmOutcome(VmId(name, ""), (), (), None, "it is not on this host", missing=True)


def missing_text(missing: Sequence[str]) -> str:
    """Return the sentence on what is not here, to be put behind others."""
    return f". Not on this host: {', '.join(missing)}" if missing else ""


def _diff(vm: VmOutcome) -> dict[str, str]:
    header = f"snapshots of {vm.vm_id.name}"
    return {
        "before_header": header,
        "after_header": header,
        "before": vm.before_text,
        "after": vm.after_text,
    }


def _summary(wording: Wording, vms: Sequence[VmOutcome], check_mode: bool) -> str:
    counts = Counter("failed" if vm.error else "done" if vm.changed else "unchanged" for vm in vms)
    done = f"would be {wording.done}" if check_mode else wording.done
    fallen = sum(vm.changed and _with_memory(vm) is False for vm in vms) if wording.disk_only is False else 0
    if fallen:
        done += f", {'' if fallen == counts['done'] else f'{fallen} of them '}disk-only instead of with memory"
    words = {"done": done, "unchanged": "unchanged", "failed": "FAILED"}
    parts = [f"{counts[key]} {word}" for key, word in words.items() if counts[key]] or ["nothing to do"]
    kind = "" if fallen or wording.disk_only is None else " (disk-only)" if wording.disk_only else " (with memory)"
    text = f"{wording.subject}{kind} of {len(vms)} VM{'s' if len(vms) != 1 else ''}: {', '.join(parts)}"
    failures = [f"{vm.vm_id.name}: {vm.msg}" for vm in vms if vm.error]
    if not failures:
        return text
    more = f" (and {len(failures) - 3} more, see vms)" if len(failures) > 3 else ""
    return f"{text}. {' '.join(failures[:3])}{more}"


def failed_vm(
    vm_id: VmId,
    error: KvmError,
    before: Optional[VirtualMachine] = None,
    now: Optional[VirtualMachine] = None,
) -> VmOutcome:
    """A VM that failed; with ``before`` and ``now`` where it may have changed all the same."""
    known = before is not None and now is not None
    return VmOutcome(
        vm_id=vm_id,
        before=before.snapshots if before and known else (),
        after=now.snapshots if now and known else (),
        snapshot=None,
        msg=error.full_message,
        power=(before.power, now.power) if before and now else ("", ""),
        error=error,
        files_removed=error.files_removed,
    )
