# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a snapshot gets a copy of the VM's UEFI variables, where it goes, and what is told where it gets none."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Callable, Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.uefi_variables import (
    Variables,
    uefi_variables,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.snapshot_names import file_name
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.request import SnapshotRequest
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import LeftOut

NVRAM = "nvram"  # what results call UEFI variables


def nvram_left_out(why: str) -> LeftOut:
    """Return what to tell of UEFI variables of which a snapshot has no copy."""
    return LeftOut(NVRAM, f"{why}; a revert leaves the UEFI variables as they are")


def no_variables(why: str = "the snapshot has no copy of them") -> str:
    """Return what is told of a revert that does not put UEFI variables back."""
    return f"the UEFI variables stay as they are now, because {why}"


def without_nvram(left_out: Sequence[LeftOut]) -> tuple[LeftOut, ...]:
    """Return what a snapshot that has the UEFI variables leaves out."""
    return tuple(part for part in left_out if part.target != NVRAM)


def uefi_copy(
    vm: str,
    domain: Any,
    request: SnapshotRequest,
    left_out: Sequence[LeftOut],
    *,
    obstacle: Callable[[Variables], str],
    unused: Callable[[str, str, str], str],
) -> tuple[Optional[str], tuple[LeftOut, ...]]:
    """Return the file that the copy goes to, None without one, and what the snapshot leaves out then.

    ``obstacle`` says why a file cannot be copied, "" where it can; ``unused`` finds a path that nothing has. Saved memory has
    the variables in it (QEMU writes them back as it loads that), so a snapshot with memory needs no copy.
    """
    found = uefi_variables(domain)
    if found is None or request.include_memory:
        return None, without_nvram(left_out)
    why = found.why or obstacle(found)
    if why:
        return None, tuple(nvram_left_out(why) if part.target == NVRAM else part for part in left_out)
    directory = os.path.dirname(os.path.realpath(found.file))
    return unused(directory, file_name(vm, NVRAM, request.name), ".vars"), without_nvram(left_out)
