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
class Storage:
    """What lies on disk for a VM: its chains, overlays that no snapshot knows, and what is wrong there, a sentence each.

    ``orphans`` are the unknown overlays that no disk is on: nothing would miss them.
    """

    chains: tuple[DiskChain, ...]
    unknown_overlays: tuple[str, ...] = ()
    orphans: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
