# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Putting a VM's UEFI variables back as a snapshot's copy has them, and undoing that where the VM does not start.

The VM is off. What it had stays beside its file, by a second name, until the revert cannot be undone any more; the copy gets the
file's place in one step, with its owner, mode and labels. Each step can be repeated: what counts is whether the file still is
what it was.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import suppress
from typing import Any, Callable, Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.firmware.variables_file import (
    digest,
    form_of,
    obstacle,
    past_of,
    read_variables,
    reserve,
    sync_directory,
    write,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.uefi_notes import UefiCopy, UefiReturn
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.uefi_variables import uefi_variables
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.image_changes import UNCHANGED
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.taking.uefi_copy import no_variables
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError

_LABELS = ("security.", "system.posix_acl", "trusted.libvirt.", "user.")


def plan_return(
    domain: Any,
    copy: Optional[UefiCopy],
    *,
    loads_memory: bool,
    unused: Callable[[str, str], str],
    used_by: Callable[[str], str],
) -> tuple[Optional[UefiReturn], tuple[str, ...]]:
    """Return how a VM of this definition gets the variables of a copy, None where it does not, and what is told of that.

    ``unused`` finds a path that nothing has, from a directory and a file's name; ``used_by`` tells who else uses a file. Memory
    brings variables of its own.
    """
    found = uefi_variables(domain)
    if found is None or loads_memory:
        return None, ()
    if copy is None:
        return None, (no_variables(),)
    if past_of(copy).past != UNCHANGED:
        return None, (no_variables(f"{copy.file} is not as it was when it was copied"),)
    why = found.why or ("" if not os.path.lexists(found.file) else obstacle(found, active=False))
    if not why and os.path.exists(found.file) and form_of(found) != copy.form:
        why = f"{found.file} has another format than {copy.file}"
    if not why and not os.path.isdir(os.path.dirname(os.path.realpath(found.file))):
        why = f"the directory of {found.file} is not there"
    file = os.path.realpath(found.file)
    others = "" if why else used_by(file)
    why = f"{found.file} is used by {others} too" if others else why
    if why:
        return None, (no_variables(why),)
    directory, name = os.path.split(file)
    was = unused(directory, f"{name}.before-revert") if os.path.exists(file) else ""
    return UefiReturn(file, unused(directory, f"{name}.being-reverted"), was), ()


def differs(back: Optional[UefiReturn], copy: Optional[UefiCopy]) -> bool:
    """Whether putting the copy back changes anything."""
    return back is not None and copy is not None and _digest(back.file, copy.form) != copy.digest


def put_back(vm: str, back: UefiReturn, copy: Optional[UefiCopy]) -> Optional[KvmError]:
    """Put the copy in place of what the VM has, which is kept; return why that fails."""
    if copy is None:
        return _failed(vm, back, "the snapshot has no copy of them any more")
    try:
        content = read_variables(copy.file, copy.form)
        if digest(content) != copy.digest:
            return _failed(vm, back, f"{copy.file} has just been changed")
        if _is_done(back) or _digest(back.file, copy.form) == copy.digest:
            return None
        if back.was and not os.path.lexists(back.was):
            _keep(back)
        _make_like(back.new, content, back.file)
        os.rename(back.new, back.file)
        sync_directory(back.file)
    except (OSError, ValueError) as error:
        return _failed(vm, back, str(error))
    return None


def undo(back: UefiReturn, copy: Optional[UefiCopy]) -> None:
    """Give the VM what it had. Where it had no file, one goes only if it still is as the ``copy``: else it may be somebody's.

    Raises `OSError`.
    """
    _forget(back.new)
    if back.was and os.path.lexists(back.was):
        os.rename(back.was, back.file)
        sync_directory(back.file)
    elif not back.was and copy and _digest(back.file, copy.form) == copy.digest:
        _forget(back.file)  # libvirt makes it anew, as it would have


def close(back: UefiReturn) -> None:
    """Forget what the VM had: there is no way back any more."""
    for file in filter(None, (back.new, back.was)):
        with suppress(OSError):
            os.unlink(file)


def _is_done(back: UefiReturn) -> bool:
    """Whether a run has put it back already; the VM may have changed it since."""
    if not back.was:
        return os.path.lexists(back.file)
    return os.path.lexists(back.was) and not _same(back.was, back.file)


def _same(one: str, other: str) -> bool:
    with open(one, "rb") as first, open(other, "rb") as second:
        return first.read() == second.read()


def _keep(back: UefiReturn) -> None:
    try:
        os.link(back.file, back.was)
    except OSError:  # a file system without links
        with open(back.file, "rb") as stream:
            _make_like(back.new, stream.read(), back.file)
        os.rename(back.new, back.was)


def _make_like(file: str, content: bytes, like: str) -> None:
    """Make a file with the owner, mode and labels of another one; a file of that name is what a killed run left."""
    _forget(file)
    reserve(file)
    if os.path.exists(like):
        status = os.stat(like)
        os.chown(file, status.st_uid, status.st_gid)
        os.chmod(file, status.st_mode & 0o7777)
        _label_like(file, os.listxattr(like), like)
    write(file, content)


def _label_like(file: str, names: Collection[str], like: str) -> None:
    for name in names:
        if name.startswith(_LABELS):
            with suppress(OSError):  # libvirt labels it again as the VM starts
                os.setxattr(file, name, os.getxattr(like, name))


def _forget(file: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(file)


def _digest(file: str, form: str) -> str:
    try:
        return digest(read_variables(file, form))
    except (OSError, ValueError):
        return ""


def _failed(vm: str, back: UefiReturn, why: str) -> KvmError:
    return KvmError(
        "start_failed",
        f"The UEFI variables of {vm} cannot be put back into {back.file}: {why}.",
        "Remove the cause and run the task again.",
    )
