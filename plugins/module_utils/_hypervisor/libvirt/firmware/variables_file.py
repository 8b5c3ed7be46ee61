# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file with a VM's UEFI variables, and the copies that snapshots have of it: read, made, told apart.

A raw file is what the firmware sees: QEMU writes each change to it at once (pflash_cfi01.c), so a copy that is made while the VM
stands still is what a power cut would leave, and edk2 recovers from that. Of a qcow2 image QEMU holds back a part, so it is
copied only while the VM is off. A JSON file (varstore) is emptied and written anew, so its copy must be whole JSON.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from datetime import datetime, timezone
from typing import Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.flush import flush
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.file_identity import (
    identity,
    is_same,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.uefi_notes import UefiCopy
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.vm_record import Record, snapshot_key
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.uefi_variables import (
    JSON,
    QCOW2,
    RAW,
    Variables,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.image_changes import (
    CHANGED,
    Past,
    changed_by_others,
)

_MAGIC = b"QFI\xfb"
_HEADER = 16  # bytes, with where the name of a backing image is
_LARGEST = 64 << 20  # OVMF's are 128 to 528 KiB, AArch64's 64 MiB; this is read as a whole
_PRIVATE = 0o600


def obstacle(found: Variables, active: bool) -> str:
    """Return why the file cannot be copied now, "" where it can. ``active``: QEMU has it open."""
    file = found.file
    try:
        status = os.stat(file)
        header = _header(file) if stat.S_ISREG(status.st_mode) else b""
    except FileNotFoundError:
        return f"{file} is not there: libvirt makes it when the VM is started"
    except OSError as error:
        return f"{file} cannot be read: {error.strerror}"
    if not stat.S_ISREG(status.st_mode):
        return f"{file} is no regular file"
    if status.st_size > _LARGEST:
        return f"{file} is larger than {_LARGEST >> 20} MiB"
    if _is_qcow2(header) and any(header[8:]):
        return f"{file} is an overlay on another image"
    if _is_qcow2(header) and active:
        return f"{file} is a qcow2 image, which can be copied only while the VM is off"
    directory = os.path.dirname(os.path.realpath(file))
    if not os.access(directory, os.W_OK | os.X_OK) or os.statvfs(directory).f_flag & os.ST_RDONLY:
        return f"no copy can be made beside {file}, because {directory} cannot be written"
    return ""


def form_of(found: Variables) -> str:
    """Return the format that a file really has. Raises `OSError`."""
    if found.form == JSON:
        return JSON
    return QCOW2 if _is_qcow2(_header(found.file)) else RAW


def read_variables(file: str, form: str) -> bytes:
    """Return all of a file. Raises `OSError`, or `ValueError` for half of one."""
    with open(file, "rb") as stream:
        content = stream.read(_LARGEST + 1)
    if not content or len(content) > _LARGEST:
        raise ValueError(f"{file} is empty or too large")
    if form == JSON:
        json.loads(content)
    return content


def reserve(file: str) -> None:
    """Make an empty file that is closed to others from its first moment. Raises `OSError` where there is one already."""
    os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, _PRIVATE))


def write(file: str, content: bytes) -> None:
    """Write a file that is there, so that it outlives a power cut. Raises `OSError`."""
    with open(file, "r+b") as stream:
        stream.truncate()
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    sync_directory(file)


def sync_directory(file: str) -> None:
    """Have the name of a file outlive a power cut. Raises `OSError`."""
    flush(os.path.dirname(file))


def note_of(file: str, form: str) -> UefiCopy:
    """Return the note of a copy that was made. Raises `OSError`, or `ValueError` for half of one."""
    content, status = read_variables(file, form), os.stat(file)
    return UefiCopy(file, form, status.st_size, status.st_mtime_ns, digest(content), identity(file))


def noted_copy(record: Record, name: str, created_at: str | None) -> Optional[UefiCopy]:
    """Return the copy of the UEFI variables that a snapshot has."""
    note = record.snapshots.get(snapshot_key(name, created_at))
    return note.nvram if note else None


def digest(content: bytes) -> str:
    """Return what tells one content from every other one."""
    return hashlib.sha256(content).hexdigest()


def past_of(copy: UefiCopy) -> Past:
    """Return whether a copy is as it was made. One that was brought back from a backup is, by what is in it."""
    try:
        status = os.stat(copy.file)
        if (status.st_size, status.st_mtime_ns) == (copy.size, copy.mtime_ns) and is_same(copy.identity, copy.file):
            return Past()
        if digest(read_variables(copy.file, copy.form)) == copy.digest:
            return Past()
    except FileNotFoundError:
        return Past(CHANGED, ("is gone: it was the copy of the UEFI variables",))
    except OSError as error:
        return Past(CHANGED, (f"cannot be read: {error.strerror}",))
    except ValueError:
        pass  # what it was made of was whole
    return Past(CHANGED, (changed_by_others(_date(status)),))


def is_ours(copy: UefiCopy) -> bool:
    """Whether there still is the file that was made, or one with the very same content."""
    if not os.path.lexists(copy.file) or os.path.islink(copy.file):
        return False
    if is_same(copy.identity, copy.file):
        return True
    try:
        return digest(read_variables(copy.file, copy.form)) == copy.digest
    except (OSError, ValueError):
        return False


def _header(file: str) -> bytes:
    with open(file, "rb") as stream:
        return stream.read(_HEADER)


def _is_qcow2(header: bytes) -> bool:
    return header.startswith(_MAGIC)


def _date(status: os.stat_result) -> str:
    return datetime.fromtimestamp(int(status.st_mtime), timezone.utc).isoformat()
