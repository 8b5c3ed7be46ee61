# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Deleting files that nothing needs any more, each looked at once more right before."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.libraries import libvirt
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.any_format_backing import (
    is_based_on,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.file_identity import is_device
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.open_files import still_open
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.real_paths import real_path
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.users.surroundings import (
    Surroundings,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.in_use_refusals import (
    needed,
    unneeded_open,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.saved_snapshot import Saved
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError


def delete(vm: str, connection: Any, around: Surroundings, files: Iterable[str], deleted: list[str]) -> None:
    """Delete files of a VM, add each to those ``deleted`` as it goes, and tell the storage pools.

    Raises ``file_in_use`` or ``file_not_removed``.
    """
    going = _in_order(vm, around, files)
    check_closed(vm, going.values())
    directories: set[str] = set()
    for real, file in going.items():
        if is_device(real):
            continue  # what is on it is needed no more, and whose it is to be next is not for us to say
        try:
            os.unlink(real)  # a link of somebody's stays
        except FileNotFoundError:
            continue
        except OSError as error:
            raise KvmError(
                "file_not_removed",
                f"{file}, which {vm} does not need any more, cannot be deleted: {error.strerror}.",
                "The VM is as it should be. Make the file deletable, and run the task again.",
            ) from error
        deleted.append(file)
        directories.update(map(os.path.dirname, (real, file)))  # a pool may have either
    for directory in directories:
        with suppress(libvirt.libvirtError):  # no pool there, or one that is busy and will refresh itself
            connection.storagePoolLookupByTargetPath(directory).refresh(0)


def check_closed(vm: str, files: Iterable[str]) -> None:
    """Raise ``file_in_use`` where a process has one of the files open that nothing needs any more."""
    for file, pid in still_open(files).items():
        raise unneeded_open(vm, file, pid)


def _in_order(vm: str, around: Surroundings, files: Iterable[str]) -> dict[str, str]:
    """Return what is about to be deleted, an overlay before what it is based on, by real paths; looked at for the last time.

    Raises ``file_in_use`` where anybody else needs one of them.
    """
    going = {real_path(file): file for file in files}
    around.files.look_into({os.path.dirname(file) for file in going})
    above = {file: [one for one in around.files.above(file, going) if is_based_on(one, file)] for file in going}
    for file in going:
        users = [str(user) for user in around.users.of(file, around.owner)]
        users += [one for one in above[file] if one not in going]
        unknown = around.why_unknown(file)
        users += [f"somebody, perhaps: this host cannot tell ({unknown})"] if unknown else []
        if users:
            raise needed(vm, file, list(dict.fromkeys(users)))
    ordered: list[str] = []
    while len(ordered) < len(going):
        left = [file for file in going if file not in ordered]
        # Headers that name each other in a circle are none of ours, and must not hold up anything.
        ordered += [file for file in left if set(above[file]).issubset(ordered)] or left
    return {file: going[file] for file in ordered}


def memory_files(around: Surroundings, going: Iterable[Saved]) -> tuple[list[str], list[str]]:
    """Return the memory files that go with their snapshots, and what is told of those that others need."""
    files = {one.memory_file: others_of(around, one.memory_file) for one in going if one.memory_file}
    there = {file: others for file, others in files.items() if os.path.exists(file)}
    told = [f"{file} stays, because {others[0]} needs it" for file, others in there.items() if others]
    return [file for file, others in there.items() if not others], told


def others_of(around: Surroundings, file: str) -> list[str]:
    """Return who beside a VM uses a file."""
    users = around.users.of(real_path(file))
    return sorted({str(user) for user in users if user.uuid != around.owner})
