# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One word for a VM: ``act`` where data is at risk or a task would be refused, ``look`` where there is something to know.

Whoever finds something puts a sentence into `Storage.problems` (act) or `Storage.notes` (look); a list of its own gets a
line in `findings`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._values.storage import Storage
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import VirtualMachine

OK, LOOK, ACT = "ok", "look", "act"


@dataclass(frozen=True)
class Finding:
    """So and so many things of a kind, and the word they are worth."""

    word: str
    number: int
    noun: str

    def __str__(self) -> str:
        return f"{self.number} {self.noun}{'' if self.number == 1 else 's'}"


def findings(vm: VirtualMachine, storage: Storage) -> tuple[Finding, ...]:
    """Return what there is to act on, then what there is to look at.

    An interrupted operation is one of the first however young it is: nobody is at work on it, and it may have left the VM off.
    """
    found = (
        Finding(ACT, len(storage.problems), "problem"),
        Finding(ACT, sum(len(snapshot.missing_files) for snapshot in vm.snapshots), "missing file"),
        Finding(ACT, 1 if vm.interrupted else 0, "interrupted operation"),
        Finding(LOOK, 1 if vm.operation and vm.operation.goes_on else 0, "merge without a task"),
        Finding(LOOK, len(storage.unknown_overlays), "unknown overlay"),
        Finding(LOOK, len(storage.leftovers), "kept overlay"),
        Finding(LOOK, len(storage.notes), "note"),
    )
    return tuple(one for one in found if one.number)


def word(vm: VirtualMachine, storage: Storage) -> Optional[str]:
    """Return the one word, None where nothing was found and the hypervisor does not tell what lies on disk."""
    words = {finding.word for finding in findings(vm, storage)}
    if ACT in words:
        return ACT
    if "storage" in vm.untold:
        return None
    return LOOK if words else OK


def told(found: tuple[Finding, ...]) -> str:
    """Return findings as they stand in a message: ``Act: 1 problem. Look: 2 notes``; "" where there are none."""
    parts = ((name, [str(one) for one in found if one.word == name]) for name in (ACT, LOOK))
    return ". ".join(f"{name.capitalize()}: {', '.join(texts)}" for name, texts in parts if texts)
