# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Putting what a VM's firmware keeps back as a snapshot's copies have it, and undoing that where the VM does not start.

The VM is off. What it had stays beside its file, by a second name, until the revert cannot be undone any more; the copy gets the
file's place in one step, with its owner, mode and labels. Each step can be repeated: what counts is whether the file still is
what it was, and that the file by way of which the copy comes is gone.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.firmware.like_another import (
    make_like,
    remove,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.firmware.state_file import (
    digest,
    read_state,
    sync_directory,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.firmware.swtpm import let_go
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.firmware_notes import (
    FirmwareCopy,
    FirmwareReturn,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.taking.firmware_copies import called
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError

Returns = Mapping[str, FirmwareReturn]
Copies = Mapping[str, FirmwareCopy]


def differs(backs: Returns, copies: Copies) -> bool:
    """Whether putting the copies back changes anything."""
    return any(_differs(back, copies.get(part)) for part, back in backs.items())


def lacks(backs: Returns, copies: Copies) -> bool:
    """Whether a VM that has been started since may lack one of the copies: none shows that it was put back before."""
    return any(_differs(back, copies.get(part)) and not (back.was and _is_done(back)) for part, back in backs.items())


def put_back(vm: str, backs: Returns, copies: Copies) -> Optional[KvmError]:
    """Put the copies in place of what the VM has, which is kept; return why that fails."""
    for part, back in backs.items():
        failed = _put_back(part, back, copies.get(part))
        if failed:
            return KvmError(
                "start_failed",
                f"{vm} cannot get {called(part)} back into {back.file}: {failed}.",
                "Remove the cause and run the task again.",
            )
    return None


def undo(backs: Returns, copies: Copies) -> None:
    """Give the VM what it had. Where it had no file, one goes only if it still is as the copy: else it may be somebody's.

    Raises `OSError`.
    """
    for part, back in backs.items():
        if back.was and not os.path.lexists(back.was):  # nothing has been put back
            remove(back.new)
            remove(_half(back))
        else:
            with let_go(part, back.file):
                _undo(back, copies.get(part))


def close(backs: Returns) -> None:
    """Forget what the VM had: there is no way back any more."""
    for back in backs.values():
        for file in filter(None, (back.new, _half(back), back.was, *back.aside.values())):
            with suppress(OSError):
                os.unlink(file)


def _put_back(part: str, back: FirmwareReturn, copy: Optional[FirmwareCopy]) -> str:
    if copy is None:
        return "the snapshot has no copy any more"
    try:
        content = read_state(copy.file, copy.form)
        if digest(content) != copy.digest:
            return f"{copy.file} has just been changed"
        with let_go(part, back.file):
            if _differs(back, copy) and not _is_done(back):
                _replace(back, content)
    except (OSError, ValueError) as error:
        return str(error)
    return ""


def _replace(back: FirmwareReturn, content: bytes) -> None:
    make_like(back.new, content, back.file)  # until it gets its name, nothing is done
    if back.was and not os.path.lexists(back.was):
        _keep(back)
    for file, kept in back.aside.items():
        if os.path.lexists(file):
            os.rename(file, kept)
    os.rename(back.new, back.file)
    sync_directory(back.file)


def _undo(back: FirmwareReturn, copy: Optional[FirmwareCopy]) -> None:
    remove(back.new)
    remove(_half(back))
    for file, kept in back.aside.items():
        if os.path.lexists(kept):
            os.rename(kept, file)
    if back.was and os.path.lexists(back.was):
        os.rename(back.was, back.file)
        sync_directory(back.file)
    elif not back.was and copy and _digest(back.file, copy.form) == copy.digest:
        remove(back.file)  # libvirt makes it anew, as it would have


def _differs(back: FirmwareReturn, copy: Optional[FirmwareCopy]) -> bool:
    return copy is not None and (_digest(back.file, copy.form) != copy.digest or any(map(os.path.lexists, back.aside)))


def _is_done(back: FirmwareReturn) -> bool:
    """Whether a run has put it back already; the VM may have changed it since."""
    if os.path.lexists(back.new):
        return False
    if not back.was:
        return os.path.lexists(back.file)
    return os.path.lexists(back.was) and not _same(back.was, back.file)


def _same(one: str, other: str) -> bool:
    with open(one, "rb") as first, open(other, "rb") as second:
        return first.read() == second.read()


def _keep(back: FirmwareReturn) -> None:
    try:
        os.link(back.file, back.was)
    except OSError:  # a file system without links
        with open(back.file, "rb") as stream:
            make_like(_half(back), stream.read(), back.file)
        os.rename(_half(back), back.was)


def _half(back: FirmwareReturn) -> str:
    """Return the name that what the VM had bears while it is being kept, where it cannot be linked."""
    return f"{back.was or back.new}.half"


def _digest(file: str, form: str) -> str:
    try:
        return digest(read_state(file, form))
    except (OSError, ValueError):
        return ""
