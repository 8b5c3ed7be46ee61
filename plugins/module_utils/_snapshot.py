# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The values that cross layers: what is asked for, what a VM is, what a snapshot is.

Everything is frozen, and ``to_result()`` is the only place that names return keys.
Sizes are bytes, times are ISO 8601 in UTC, and what is not known is ``None``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Optional


@dataclass(frozen=True)
class SnapshotRequest:
    """A snapshot as the task asks for it, the same for every VM of the task.

    ``protected`` and ``labels`` are None where the task says nothing of them.
    """

    name: str
    description: str = ""
    include_memory: bool = False
    on_memory_blocked: str = "fail"
    quiesce: str = "auto"
    quiesce_timeout: int = 30
    disks: Optional[tuple[str, ...]] = None
    overlay_dir: Optional[str] = None
    protected: Optional[bool] = None
    labels: Optional[Mapping[str, str]] = None

    @property
    def disk_only(self) -> bool:
        """The rule this collection exists for."""
        return not self.include_memory


@dataclass(frozen=True)
class RevertRequest:
    """A revert as the task asks for it. ``power``: restore (as the VM was before it), running, paused or shutoff."""

    name: str
    power: str = "restore"
    keep_current: bool = False
    quiesce: str = "auto"
    quiesce_timeout: int = 30

    @property
    def kept_as(self) -> str:
        """The name of the snapshot that keeps the present, where that is asked for."""
        return f"before-{self.name}"


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
    """Something of the VM that a snapshot does not hold, and why. ``target`` is a disk, ``nvram`` or ``tpm``."""

    target: str
    reason: str


@dataclass(frozen=True)
class Snapshot:
    """One snapshot of one VM, as it stands (or, in check mode, as it would stand).

    ``owned`` is one that this collection took; ``protected`` and ``labels`` are what it was told to note of it.
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
    missing_files: tuple[str, ...] = ()
    owned: bool = False
    protected: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    untold: tuple[str, ...] = ()

    def told(self, key: str) -> Any:
        """Return a value, None where the hypervisor does not tell it."""
        return None if key in self.untold else getattr(self, key)

    def to_result(self) -> dict[str, Any]:
        """Return the ``snapshot`` of a module's result."""
        result = asdict(self)
        for key in ("disks", "left_out", "missing_files"):
            result[key] = list(result[key])
        untold = result.pop("untold")
        return {**result, **dict.fromkeys(untold)}


@dataclass(frozen=True)
class ChainLayer:
    """One image of a disk's backing chain; ``snapshot`` names the snapshot whose overlay it is, if any."""

    file: str
    format: str
    size: Optional[int]
    virtual_size: Optional[int]
    snapshot: Optional[str] = None


@dataclass(frozen=True)
class DiskChain:
    """A disk's backing chain, active layer first."""

    target: str
    layers: tuple[ChainLayer, ...]

    def to_result(self) -> dict[str, Any]:
        """Return a ``chains`` entry; ``depth`` counts every layer, the base too."""
        return {
            "target": self.target,
            "depth": len(self.layers),
            "size": sum(layer.size or 0 for layer in self.layers),
            "layers": [asdict(layer) for layer in self.layers],
        }


@dataclass(frozen=True)
class DomainId:
    """Who a VM is: enough to select it by name, UUID or pattern."""

    name: str
    uuid: str


@dataclass(frozen=True)
class Operation:
    """What a run noted before it began to change a VM's snapshots: ``kind`` is take, revert or remove.

    It is gone when the run has ended well. ``running`` tells whether a run is at work on the VM at this moment; if none
    is, that one was interrupted. ``percent`` is how far a merge has got, None where that is not known.
    """

    kind: str
    snapshot: str
    started_at: str
    running: bool = False
    percent: Optional[int] = None

    @property
    def interrupted(self) -> bool:
        """Whether nobody has finished or undone it yet, nor is about to."""
        return not self.running

    def __str__(self) -> str:
        noun = {"take": "taking", "remove": "removal"}.get(self.kind, self.kind)
        return f"{noun} {'to' if self.kind == 'revert' else 'of'} snapshot {self.snapshot!r}"

    def to_result(self) -> dict[str, Any]:
        """Return the ``operation`` of what info tells."""
        return {**asdict(self), "interrupted": self.interrupted}


@dataclass(frozen=True)
class VirtualMachine:
    """A VM as far as snapshots are concerned, snapshots in tree order (a parent before its children).

    ``untold`` names what the hypervisor does not tell of it: persistent, guest_agent, memory, storage.
    """

    id: DomainId
    state: str
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
        return self.state in ("running", "paused")

    @property
    def interrupted(self) -> Optional[Operation]:
        """What a run began, and nobody has finished or undone yet."""
        return self.operation if self.operation and self.operation.interrupted else None

    def find(self, name: str) -> Optional[Snapshot]:
        """Return the snapshot of that name, wherever it stands in the tree."""
        return next((snapshot for snapshot in self.snapshots if snapshot.name == name), None)


@dataclass(frozen=True)
class Need:
    """Room that a plan wants in a directory, in bytes."""

    directory: str
    bytes: int


@dataclass(frozen=True)
class Room:
    """The room of the file system that holds a directory, in bytes; ``filesystem`` tells two of them apart."""

    filesystem: str
    total: int
    free: int


@dataclass(frozen=True)
class SnapshotPlan:
    """All that was decided before a VM is touched. ``snapshot`` is the prediction that check mode returns."""

    vm: VirtualMachine
    request: SnapshotRequest
    snapshot: Snapshot
    needs: tuple[Need, ...] = ()
    freeze: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Taken:
    """What came of a plan: the snapshot read back from the hypervisor, and what an operator should know of it."""

    snapshot: Snapshot
    notes: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class RevertPlan:
    """A revert, decided before the VM is touched.

    ``overlays`` are the new ones, on the images that hold the snapshot's state; ``dropped`` the files that go with
    what was written since; ``power`` the state the VM will be in, "" where that is not known. ``needed`` is False where
    nothing was written since.
    """

    vm: VirtualMachine
    snapshot: Snapshot
    overlays: tuple[SnapshotDisk, ...]
    dropped: tuple[str, ...]
    power: str
    needed: bool = True
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class RemovalPlan:
    """The removal of snapshots, leaf first, decided before the VM is touched; ``dropped`` are the files that go."""

    vm: VirtualMachine
    snapshots: tuple[Snapshot, ...]
    dropped: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recovery:
    """What became of an interrupted operation: ``msg`` says so in a sentence, ``finished`` tells done from undone."""

    msg: str
    finished: bool = True


@dataclass(frozen=True)
class Storage:
    """What lies on disk for a VM: its chains, overlays that no snapshot knows, and what is wrong there, a sentence each.

    ``orphans`` are the unknown overlays that no disk is on: nothing would miss them.
    """

    chains: tuple[DiskChain, ...]
    unknown_overlays: tuple[str, ...] = ()
    orphans: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


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
