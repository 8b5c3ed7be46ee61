# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How far a run has got with merging a layer, for whoever asks meanwhile: a small file beside the VM's record."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._values.merge import LayerPace
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import VmId


@dataclass(frozen=True)
class Progress:
    """The percent of a layer, and the seconds that the rest takes at the pace so far; None where that is not known."""

    percent: Optional[int] = None
    seconds_left: Optional[int] = None


class ProgressNotes:
    """The files of one hypervisor's VMs; ``path`` gives that of a VM. What cannot be written or read is not known."""

    def __init__(self, path: Callable[[VmId], str]) -> None:
        self._path = path
        self._paces: dict[str, LayerPace] = {}

    def note(self, vm_id: VmId, percent: Optional[int]) -> None:
        """Tell others how far a merge has got; None when it has ended."""
        with suppress(OSError):
            if percent is None:
                self._paces.pop(vm_id.uuid, None)
                os.unlink(self._path(vm_id))
                return
            left = self._left(vm_id, percent)
            with open(self._path(vm_id), "w", encoding="utf-8") as file:
                file.write(f"{percent}" if left is None else f"{percent} {left}")

    def read(self, vm_id: VmId) -> Progress:
        """Return what the run at work has told last."""
        try:
            with open(self._path(vm_id), encoding="utf-8") as file:
                return Progress(*map(int, file.read().split()))
        except (OSError, ValueError, TypeError):
            return Progress()

    def _left(self, vm_id: VmId, percent: int) -> Optional[int]:
        now = time.monotonic()
        pace = self._paces[vm_id.uuid] = LayerPace.seen(self._paces.get(vm_id.uuid), percent, now)
        return pace.seconds_left(now)
