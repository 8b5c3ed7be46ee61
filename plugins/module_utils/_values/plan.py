# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was decided before a VM is touched, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._values.request import SnapshotRequest
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.sizes import mebibytes
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import Snapshot, SnapshotDisk
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.storage import Leftover
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import VirtualMachine


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
class Done:
    """What came of a plan, as it was read back from the hypervisor.

    ``notes`` are what an operator should know, ``files_removed`` what was really deleted. ``snapshot`` is the one that was
    taken, ``vm`` the VM as it is now; both are None where they have to be looked up.
    """

    notes: tuple[str, ...] = ()
    files_removed: tuple[str, ...] = ()
    snapshot: Optional[Snapshot] = None
    vm: Optional[VirtualMachine] = None


@dataclass(frozen=True)
class Resize:
    """A disk that becomes another size, in bytes."""

    target: str
    before: int
    after: int

    def __str__(self) -> str:
        word = "shrinks" if self.after < self.before else "grows"
        return f"disk {self.target} {word} from {mebibytes(self.before)} to {mebibytes(self.after)}"


@dataclass(frozen=True)
class RevertPlan:
    """A revert, decided before the VM is touched.

    ``overlays`` are the new ones, on the images that hold the snapshot's state; ``dropped`` the files that go with
    what was written since, ``kept`` those that would and stay; ``power`` the state the VM will be in, "" where that is
    not known. ``needed`` is False where nothing was written since. ``resized`` are disks that have another size since.
    """

    vm: VirtualMachine
    snapshot: Snapshot
    overlays: tuple[SnapshotDisk, ...]
    dropped: tuple[str, ...]
    power: str
    needed: bool = True
    notes: tuple[str, ...] = ()
    kept: tuple[Leftover, ...] = ()
    resized: tuple[Resize, ...] = ()


@dataclass(frozen=True)
class RemovalPlan:
    """The removal of snapshots, leaf first, decided before the VM is touched; ``dropped`` are the files that go.

    ``together`` has those that are removed at once, the others alone. ``kept`` are files that would be of no use any more and
    stay all the same. ``copied`` is how much merging copies at most, None where that is not known, and ``needs`` the room for it.
    """

    vm: VirtualMachine
    snapshots: tuple[Snapshot, ...]
    dropped: tuple[str, ...]
    notes: tuple[str, ...] = ()
    kept: tuple[Leftover, ...] = ()
    copied: Optional[int] = None
    needs: tuple[Need, ...] = ()
    together: tuple[tuple[Snapshot, ...], ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of what is removed."""
        return tuple(one.name for one in self.snapshots)

    @property
    def removals(self) -> tuple[tuple[Snapshot, ...], ...]:
        """What is removed one after the other."""
        return self.together or tuple((one,) for one in self.snapshots)


@dataclass(frozen=True)
class Recovery:
    """What became of an interrupted operation: ``msg`` says so in a sentence, ``finished`` tells done from undone.

    ``files_removed`` are what was deleted for it.
    """

    msg: str
    finished: bool = True
    files_removed: tuple[str, ...] = ()
