# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files with a VM's UEFI variables and the state of its TPM, and the copies of snapshots: read, made, told apart.

A raw file is what the firmware sees: QEMU writes each change to it at once (pflash_cfi01.c), so a copy that is made while the VM
stands still is what a power cut would leave, and edk2 recovers from that. Of a qcow2 image QEMU holds back a part, so it is
copied only while the VM is off. A JSON file (varstore) is emptied and written anew, so its copy must be whole JSON.

Swtpm puts each new state of a TPM in place of the old one in one step, flushed (swtpm_nvstore_dir.c): the file is always whole,
and its header says how long it is. One file for all states of a TPM is written to in place, so it is copied only while the VM
is off.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import struct
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from typing import Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.flush import flush
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.file_identity import (
    identity,
    is_same,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.firmware_notes import FirmwareCopy
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.vm_record import Record, snapshot_key
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.firmware_states import (
    JSON,
    LINEAR,
    PERMALL,
    QCOW2,
    RAW,
    FirmwareState,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.image_changes import (
    CHANGED,
    Past,
    changed_by_others,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.taking.firmware_copies import called

_MAGIC = b"QFI\xfb"
_HEADER = 16  # bytes, with where the name of a backing image is
_LARGEST = 64 << 20  # OVMF's are 128 to 528 KiB, AArch64's 64 MiB, a TPM's some 10 KiB; this is read as a whole
_SWTPM_HEADER = struct.Struct(">BBHHI")  # its version, the least that can read it, its size, flags, the length of all
_PRIVATE = 0o600


def obstacle(found: FirmwareState, active: bool) -> str:
    """Return why the file cannot be copied now, "" where it can. ``active``: QEMU has it open."""
    why = unreadable(found)
    if not why and active and (form := form_of(found)) in (QCOW2, LINEAR):
        kind = "is a qcow2 image" if form == QCOW2 else "has all states of the TPM in it"
        return f"{found.file} {kind}, which can be copied only while the VM is off"
    return why or ("" if is_writable(found.home) else f"no copy can be made, because {found.home} cannot be written")


def unreadable(found: FirmwareState) -> str:
    """Return why nobody can copy the file, "" where that can be done."""
    file = found.file
    try:
        status = os.lstat(file) if found.form == PERMALL else os.stat(file)
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
    return ""


def real_file(found: FirmwareState) -> str:
    """Return the path of the very file. Swtpm follows no link in its place: it would put the next state there."""
    directory, name = os.path.split(found.file)
    return os.path.join(os.path.realpath(directory), name) if found.form == PERMALL else os.path.realpath(found.file)


def is_writable(directory: str) -> bool:
    """Whether a file can be made in a directory."""
    return os.access(directory, os.W_OK | os.X_OK) and not os.statvfs(directory).f_flag & os.ST_RDONLY


def form_of(found: FirmwareState) -> str:
    """Return the format that a file really has. Raises `OSError`."""
    if found.form not in (RAW, QCOW2):
        return found.form
    return QCOW2 if _is_qcow2(_header(found.file)) else RAW


def read_state(file: str, form: str) -> bytes:
    """Return all of a file. Raises `OSError`, or `ValueError` for half of one."""
    with open(file, "rb") as stream:
        content = stream.read(_LARGEST + 1)
    if not content or len(content) > _LARGEST:
        raise ValueError(f"{file} is empty or too large")
    if form == JSON:
        json.loads(content)
    if form == PERMALL and not _is_whole(content):
        raise ValueError(f"{file} is not what swtpm writes, or not all of it")
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


def note_of(file: str, form: str) -> FirmwareCopy:
    """Return the note of a copy that was made. Raises `OSError`, or `ValueError` for half of one."""
    content, status = read_state(file, form), os.stat(file)
    return FirmwareCopy(file, form, status.st_size, status.st_mtime_ns, digest(content), identity(file))


def noted_copies(record: Record, name: str, created_at: str | None) -> Mapping[str, FirmwareCopy]:
    """Return the copies that a snapshot has of what the VM's firmware keeps, by part."""
    note = record.snapshots.get(snapshot_key(name, created_at))
    return note.copies if note else {}


def digest(content: bytes) -> str:
    """Return what tells one content from every other one."""
    return hashlib.sha256(content).hexdigest()


def past_of(part: str, copy: FirmwareCopy) -> Past:
    """Return whether a copy is as it was made. One that was brought back from a backup is, by what is in it."""
    try:
        status = os.stat(copy.file)
        if (status.st_size, status.st_mtime_ns) == (copy.size, copy.mtime_ns) and is_same(copy.identity, copy.file):
            return Past()
        if digest(read_state(copy.file, copy.form)) == copy.digest:
            return Past()
    except FileNotFoundError:
        return Past(CHANGED, (f"is gone: it was the copy of {called(part)}",))
    except OSError as error:
        return Past(CHANGED, (f"cannot be read: {error.strerror}",))
    except ValueError:
        pass  # what it was made of was whole
    return Past(CHANGED, (changed_by_others(_date(status)),))


def is_ours(copy: FirmwareCopy) -> bool:
    """Whether there still is the file that was made, or one with the very same content."""
    if not os.path.lexists(copy.file) or os.path.islink(copy.file):
        return False
    if is_same(copy.identity, copy.file):
        return True
    try:
        return digest(read_state(copy.file, copy.form)) == copy.digest
    except (OSError, ValueError):
        return False


def going_copies(record: Record, snapshots: Iterable[tuple[str, Optional[str]]]) -> tuple[list[str], list[str]]:
    """Return the copies that go with snapshots, of this name and time each, and what is told of other files of their names."""
    noted = [item for name, created_at in snapshots for item in noted_copies(record, name, created_at).items()]
    others = [(part, copy.file) for part, copy in noted if os.path.lexists(copy.file) and not is_ours(copy)]
    why = "stays, because somebody put it in place of the copy of {} that this collection had made there"
    told = [f"{file} {why.format(called(part))}" for part, file in others]
    return [copy.file for _part, copy in noted if is_ours(copy)], told


def _header(file: str) -> bytes:
    with open(file, "rb") as stream:
        return stream.read(_HEADER)


def _is_whole(content: bytes) -> bool:
    """Whether swtpm would take it: `SWTPM_NVRAM_CheckHeader`."""
    if len(content) < _SWTPM_HEADER.size:
        return False
    _version, _least, size, _flags, length = _SWTPM_HEADER.unpack_from(content)
    return bool(size == _SWTPM_HEADER.size and length == len(content))


def _is_qcow2(header: bytes) -> bool:
    return header.startswith(_MAGIC)


def _date(status: os.stat_result) -> str:
    return datetime.fromtimestamp(int(status.st_mtime), timezone.utc).isoformat()
