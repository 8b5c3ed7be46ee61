# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What lies on disk for a VM. Sizes are bytes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Optional


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
    """A disk's backing chain, active layer first.

    It is not ``complete`` where a layer cannot be read: what is below is not known then. ``writable`` says whether its VM may
    write to it.
    """

    target: str
    layers: tuple[ChainLayer, ...]
    complete: bool = True
    writable: bool = True

    def to_result(self) -> dict[str, Any]:
        """Return a ``chains`` entry; ``depth`` counts every layer, the base too."""
        return {
            "target": self.target,
            "complete": self.complete,
            "depth": len(self.layers),
            "size": sum(layer.size or 0 for layer in self.layers),
            "layers": [asdict(layer) for layer in self.layers],
        }


@dataclass(frozen=True)
class Leftover:
    """An overlay that is of no use to its VM and is kept all the same, because its data may be somebody's.

    ``why`` is ``detached`` (of a disk, ``target``, that the VM no longer has), ``shared`` (it lies where other hosts may use
    it) or ``other`` (``reason`` says it). ``snapshot`` still names it, ``bring_back`` gives the VM the data again. ``shared``
    says of any of them whether other hosts may use it.
    """

    file: str
    why: str
    reason: str
    target: Optional[str] = None
    last_written: Optional[str] = None
    snapshot: Optional[str] = None
    bring_back: Optional[str] = None
    shared: bool = False

    def __str__(self) -> str:
        text = f"{self.file} is kept: {self.reason}"
        return (
            f"{text}. To have its data back at the next start of the VM: {self.bring_back}" if self.bring_back else text
        )

    @property
    def given_up_by_name(self) -> bool:
        """Whether a task that says so may delete it: no snapshot names it, and nobody but the VM ever used it."""
        return self.snapshot is None and self.why in ("detached", "shared")

    def to_result(self) -> dict[str, Any]:
        """Return an entry of ``kept`` in what info tells."""
        return asdict(self)


@dataclass(frozen=True)
class Storage:
    """What lies on disk for a VM: its chains, overlays that no snapshot knows, and what is wrong there, a sentence each.

    ``orphans`` are the unknown overlays that this collection made and that nothing uses. ``definition_changed`` names disks
    that the VM is defined to have on an image which its snapshots have frozen.
    ``problems`` are what somebody must act on, ``notes`` what somebody should know, see `_rules.look`.
    """

    chains: tuple[DiskChain, ...]
    unknown_overlays: tuple[str, ...] = ()
    orphans: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    leftovers: tuple[Leftover, ...] = ()
    definition_changed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class FileSystem:
    """A file system of the host with some of its images, ``files``; ``total`` and ``free`` are None where it does not answer."""

    path: str
    total: Optional[int]
    free: Optional[int]
    files: tuple[str, ...] = ()
