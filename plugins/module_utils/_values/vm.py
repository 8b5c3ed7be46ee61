# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a VM is, as far as snapshots are concerned."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import Snapshot, named_snapshots


@dataclass(frozen=True)
class VmId:
    """Who a VM is: enough to select it by name, UUID or pattern."""

    name: str
    uuid: str


@dataclass(frozen=True)
class Operation:
    """What a run noted before it began to change a VM's snapshots: ``kind`` is take, revert or remove.

    It is gone when the run has ended well. ``running`` tells whether a run is at work on the VM at this moment. ``percent`` is
    how far the merge of a layer has got, ``seconds_left`` how long the rest of it takes at its pace so far. Both are None where
    that is not known: QEMU may go on with one that no run waits for. ``also`` are those that are removed at once with it.
    """

    kind: str
    snapshot: str
    started_at: str
    running: bool = False
    percent: Optional[int] = None
    seconds_left: Optional[int] = None
    also: tuple[str, ...] = ()

    @property
    def snapshots(self) -> tuple[str, ...]:
        """All that it is about."""
        return (self.snapshot, *self.also)

    @property
    def interrupted(self) -> bool:
        """Whether nobody has finished or undone it yet, nor is about to, and it waits for that."""
        return not (self.running or self.goes_on)

    @property
    def goes_on(self) -> bool:
        """Whether QEMU still copies for it, and no run waits for that."""
        return not self.running and self.percent is not None and self.percent < 100

    def __str__(self) -> str:
        noun = {"take": "taking", "remove": "removal"}.get(self.kind, self.kind)
        return f"{noun} {'to' if self.kind == 'revert' else 'of'} {self.names}"

    @property
    def names(self) -> str:
        """What it is done to, as text."""
        return named_snapshots(self.snapshots)

    def to_result(self) -> dict[str, Any]:
        """Return the ``operation`` of what info tells."""
        values = {name: value for name, value in asdict(self).items() if name != "also"}
        return {**values, "snapshots": list(self.snapshots), "interrupted": self.interrupted}


@dataclass(frozen=True)
class VirtualMachine:
    """A VM as far as snapshots are concerned, snapshots in tree order (a parent before its children).

    ``untold`` names what the hypervisor does not tell of it: persistent, guest_agent, memory, storage.
    """

    id: VmId
    power: str
    persistent: bool = True
    guest_agent: bool = False
    memory_bytes: int = 0
    memory_blockers: tuple[str, ...] = ()
    snapshots: tuple[Snapshot, ...] = ()
    operation: Optional[Operation] = None
    untold: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The domain's name."""
        return self.id.name

    @property
    def active(self) -> bool:
        """Whether there is a QEMU process, and so memory that could be saved."""
        return self.power in ("running", "paused")

    @property
    def interrupted(self) -> Optional[Operation]:
        """What a run began, and nobody has finished or undone yet."""
        return self.operation if self.operation and self.operation.interrupted else None

    def find(self, name: str) -> Optional[Snapshot]:
        """Return the snapshot of that name, wherever it stands in the tree."""
        return next((snapshot for snapshot in self.snapshots if snapshot.name == name), None)
