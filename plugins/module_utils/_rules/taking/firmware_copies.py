# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a snapshot gets copies of the VM's UEFI variables and its TPM, where they go, and what is told where it gets none."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Callable

from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.firmware_states import (
    NVRAM,
    TPM,
    FirmwareState,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.snapshot_names import file_name
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.request import SnapshotRequest
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import LeftOut

PARTS = (NVRAM, TPM)


@dataclass(frozen=True)
class _Words:
    """How a part is called in messages, and the suffix of its copies."""

    name: str
    suffix: str
    stays: str
    them: str
    as_is: str


_WORDS = {
    NVRAM: _Words("the UEFI variables", ".vars", "stay", "them", "as they are"),
    TPM: _Words("the state of the TPM", ".permall", "stays", "it", "as it is"),
}


def called(part: str) -> str:
    """Return what a message calls a part."""
    return _WORDS[part].name


def firmware_left_out(part: str, why: str = "") -> LeftOut:
    """Return what to tell of a part of which a snapshot has no copy."""
    word = _WORDS[part]
    why = why or f"this snapshot has no copy of {word.them}"
    return LeftOut(part, f"{why}; a revert leaves {word.name} {word.as_is}")


def firmware_stays(part: str, why: str = "") -> str:
    """Return what is told of a revert that does not put a part back."""
    word = _WORDS[part]
    why = why or f"the snapshot has no copy of {word.them}"
    return f"{word.name} {word.stays} {word.as_is} now, because {why}"


def without_copied(left_out: Sequence[LeftOut], parts: Collection[str] = PARTS) -> tuple[LeftOut, ...]:
    """Return what a snapshot that has these parts leaves out."""
    return tuple(one for one in left_out if one.target not in parts)


def firmware_copies(
    vm: str,
    states: Mapping[str, FirmwareState],
    request: SnapshotRequest,
    left_out: Sequence[LeftOut],
    *,
    obstacle: Callable[[FirmwareState], str],
    unused: Callable[[str, str, str], str],
) -> tuple[dict[str, str], tuple[LeftOut, ...]]:
    """Return the file that the copy of each part goes to, and what the snapshot leaves out then.

    ``obstacle`` says why a file cannot be copied, "" where it can; ``unused`` finds a path that nothing has. Saved memory has
    all of it (QEMU gives it back as it loads that), so a snapshot with memory needs no copy.
    """
    if request.include_memory:
        return {}, without_copied(left_out)
    why = {part: state.why or obstacle(state) for part, state in states.items()}
    copied = [part for part in states if not why[part]]
    told = tuple(
        firmware_left_out(one.target, why[one.target]) if one.target in PARTS else one
        for one in left_out
        if one.target not in PARTS or why.get(one.target)
    )
    files = {part: unused(states[part].home, file_name(vm, part, request.name), _WORDS[part].suffix) for part in copied}
    return files, told
