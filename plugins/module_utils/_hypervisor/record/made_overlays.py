# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the record says of the overlays that were made here: which images they were made on."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.vm_record import Made, Records
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import VmId


def bases(made: Mapping[str, Made], overlay: str) -> list[str]:
    """Return the images that an overlay was made on, the nearest first; what others made of its chain does not count."""
    found: list[str] = []
    while (base := made[overlay].base if overlay in made else None) and base not in found:
        found.append(base)
        overlay = base
    return found


def still_there(made: Mapping[str, Made]) -> dict[str, Made]:
    """Return what is noted of overlays that are there; of the others it is only what those are on that lies above them."""
    there = {file: one for file, one in made.items() if os.path.lexists(file)}
    return {
        file: replace(one, base=next((base for base in bases(made, file) if base in there or base not in made), None))
        for file, one in there.items()
    }


def made_for_any(records: Records) -> set[str]:
    """Return the overlays that were made for any VM that is or was on this host, as far as records can be read."""
    return {file for _uuid, record in records.of_others(VmId("", "")) for file in record.made}


def noted_of(records: Records, uuid: str) -> tuple[str, ...]:
    """Return the images that a VM's snapshots were noted to need, down to the lowest, as far as its record can be read."""
    with suppress(KvmError):
        return tuple(records.read(VmId("", uuid)).images)
    return ()
