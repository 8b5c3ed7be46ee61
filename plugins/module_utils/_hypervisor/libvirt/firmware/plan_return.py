# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a VM that is reverted gets back what its firmware kept, and into which file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Callable, Optional, Union

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.firmware.state_file import (
    form_of,
    is_writable,
    past_of,
    real_file,
    unreadable,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.firmware_notes import (
    FirmwareCopy,
    FirmwareReturn,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.firmware_states import FirmwareState
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.image_changes import UNCHANGED
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.taking.firmware_copies import firmware_stays


def plan_returns(
    states: Mapping[str, FirmwareState],
    copies: Mapping[str, FirmwareCopy],
    *,
    loads_memory: bool,
    unused: Callable[[str, str], str],
    used_by: Callable[[str], str],
) -> tuple[dict[str, FirmwareReturn], tuple[str, ...]]:
    """Return how a VM gets what it keeps there back, by part, and what is told of that which it does not get.

    ``unused`` finds a path that nothing has, from a directory and a file's name; ``used_by`` tells who else uses a file. Memory
    has all of it in it.
    """
    if loads_memory:
        return {}, ()
    found = {part: _planned(state, copies.get(part), unused, used_by) for part, state in states.items()}
    backs = {part: back for part, back in found.items() if isinstance(back, FirmwareReturn)}
    told = tuple(firmware_stays(part, why) for part, why in found.items() if isinstance(why, str))
    return backs, told


def _planned(
    state: FirmwareState,
    copy: Optional[FirmwareCopy],
    unused: Callable[[str, str], str],
    used_by: Callable[[str], str],
) -> Union[FirmwareReturn, str]:
    """Return how a part comes back, or why it does not ("": there is no copy)."""
    why = "" if copy is None else _obstacle(state, copy)
    if copy is None or why:
        return why
    file = real_file(state)
    others = " and ".join(sorted({*filter(None, map(used_by, filter(None, (file, state.named))))}))
    if others:
        return f"{state.named or state.file} is used by {others} too"
    directory, name = os.path.split(file)
    was = unused(directory, f"{name}.before-revert") if os.path.exists(file) else ""
    aside = {one: unused(directory, f"{os.path.basename(one)}.before-revert") for one in state.aside}
    return FirmwareReturn(file, unused(directory, f"{name}.being-reverted"), was, aside)


def _obstacle(state: FirmwareState, copy: FirmwareCopy) -> str:
    if past_of(state.part, copy).past != UNCHANGED:
        return f"{copy.file} is not as it was when it was copied"
    why = state.why or ("" if not os.path.lexists(state.file) else unreadable(state))
    if not why and os.path.exists(state.file) and form_of(state) != copy.form:
        return f"{state.file} has another format than {copy.file}"
    directory = os.path.dirname(real_file(state)) if state.file else ""
    if not why and not os.path.isdir(directory):
        return f"the directory of {state.file} is not there"
    return why or ("" if is_writable(directory) else f"{directory} cannot be written")
