# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Image files as they lie on disk: what their headers say, and making an overlay.

The headers are read here, not by ``qemu-img info``: a process for each layer would cost more than the snapshot.
Layout: docs/interop/qcow2.rst of QEMU. The lab's tests compare every field with ``qemu-img info``.
"""

from __future__ import annotations

import os
import stat
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.backing import Backing, resolve
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.qemu_user import QemuUser
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.layers import MOST_LAYERS
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.refusals import overlay_failed

_MAGIC = b"QFI\xfb"
# Magic, version, backing offset, backing length, cluster bits, virtual size, encryption, entries of the L1 table, where
# that lies, where the refcount table lies, its clusters, internal snapshots.
_FIXED = struct.Struct(">4sIQIIQIIQQII")
_INCOMPATIBLE = struct.Struct(">Q")
_INCOMPATIBLE_AT, _DATA_FILE = 72, 1 << 2
_HEADER_LENGTH_AT = 100
_VERSION_2_HEADER = 72
_END, _BACKING_FORMAT = 0, 0xE2792ACA
_FIRST_CLUSTER = 65536
_PRIVATE = 0o600
ENCRYPTED = "it is encrypted"


@dataclass(frozen=True)
class Image:
    """One image file. Sizes in bytes, ``size`` as allocated; ``backing_format`` is "" where the image names none.

    ``end`` is what it is backed by where that is no file we can follow, and so the end of the chain: never read, never
    written to. ``named`` are all files that its header names as what it is backed by. ``snapshots`` counts those inside
    it. ``peculiar`` says why its data is not where a plain image has it.
    """

    file: str
    format: str
    size: int
    virtual_size: int
    backing_file: str | None = None
    backing_format: str = ""
    snapshots: int = 0
    end: str = ""
    named: tuple[str, ...] = ()
    peculiar: str = ""
    device: bool = False

    @property
    def below(self) -> str | None:
        """The file of this host that it reads from, also where it takes a part of that only, or decrypts it."""
        return self.backing_file or next(iter(self.named), None)


def read_image(file: str, image_format: str) -> Image:
    """Read an image; ``image_format`` is what libvirt or the layer above says, never guessed from a guest's bytes.

    Raises `OSError` when it cannot be read, `ValueError` when a qcow2 is none.
    """
    with open(file, "rb") as stream:
        head = stream.read(_FIRST_CLUSTER) if image_format == "qcow2" else b""
        end = stream.seek(0, os.SEEK_END)  # also right for a block device, where st_size is 0
        status = os.fstat(stream.fileno())
    device = stat.S_ISBLK(status.st_mode)
    allocated = end if device else status.st_blocks * 512  # a device is all taken, whatever is in it
    if image_format != "qcow2":
        peculiar = ENCRYPTED if image_format == "luks" else ""
        return Image(file, image_format, allocated, end, peculiar=peculiar, device=device)
    try:
        return _parsed(file, head, allocated, device)
    except (struct.error, AttributeError, RecursionError) as error:
        raise ValueError(f"the header of {file} is broken: {error}") from error


def _parsed(file: str, head: bytes, allocated: int, device: bool) -> Image:
    if len(head) < _VERSION_2_HEADER or head[:4] != _MAGIC:
        raise ValueError(f"{file} is not a qcow2 image")
    _magic, version, offset, length, _bits, virtual_size, encryption, *_rest, snapshots = _FIXED.unpack_from(head)
    text = head[offset : offset + length].decode() if offset else ""
    backing = resolve(file, text) if text else Backing(None)
    return Image(
        file=file,
        format="qcow2",
        size=allocated,
        virtual_size=virtual_size,
        backing_file=backing.path,
        backing_format=_backing_format(head, version) or backing.format,
        snapshots=snapshots,
        end=backing.end,
        named=backing.files,
        peculiar=_peculiar(head, version, encryption),
        device=device,
    )


def _peculiar(head: bytes, version: int, encryption: int) -> str:
    if encryption:
        return ENCRYPTED
    if version > 2 and _INCOMPATIBLE.unpack_from(head, _INCOMPATIBLE_AT)[0] & _DATA_FILE:
        return "it keeps its data in another file"
    return ""


def _backing_format(head: bytes, version: int) -> str:
    at = _VERSION_2_HEADER if version == 2 else struct.unpack_from(">I", head, _HEADER_LENGTH_AT)[0]
    while at + 8 <= len(head):
        kind, length = struct.unpack_from(">II", head, at)
        if kind == _END:
            break
        if kind == _BACKING_FORMAT:
            return head[at + 8 : at + 8 + length].decode()
        at += 8 + (length + 7) // 8 * 8
    return ""


def is_empty(overlay: str) -> bool:
    """Whether nothing was ever written to a qcow2 overlay: its L1 table has no entry. Raises as `read_image` does."""
    with open(overlay, "rb") as stream:
        head = stream.read(_FIXED.size)
        if len(head) < _FIXED.size or head[:4] != _MAGIC:
            raise ValueError(f"{overlay} is not a qcow2 image")
        entries, table = _FIXED.unpack(head)[7:9]
        stream.seek(table)
        return not any(stream.read(entries * 8))


def walk_chain(file: str, image_format: str) -> Iterator[Image]:
    """Yield the image and all it is backed by, active layer first. Raises as `read_image` does, as it goes."""
    following: str | None = file
    for _depth in range(MOST_LAYERS):
        image = read_image(str(following), image_format)
        yield image
        following, image_format = image.backing_file, image.backing_format or "raw"
        if following is None:
            return
    raise ValueError(f"the backing chain of {file} has more than {MOST_LAYERS} layers, or goes in a circle")


def read_chain(file: str, image_format: str) -> list[Image]:
    """Return the image and all it is backed by, active layer first. Raises as `read_image` does."""
    return list(walk_chain(file, image_format))


def create_overlay(
    overlay: str, backing: str, backing_format: str, virtual_size: int, user: QemuUser | None = None
) -> None:
    """Make an empty qcow2 overlay, for nobody but who has ``backing`` (see `_access`). Raises ``overlay_failed``.

    ``-u`` leaves the backing image unopened: a running VM holds a lock on it.
    """
    try:
        # Exclusive, and closed to others from its first moment (CVE-2025-13193 is libvirt's 0644).
        descriptor = os.open(overlay, os.O_CREAT | os.O_EXCL | os.O_WRONLY, _PRIVATE)
    except OSError as error:
        raise overlay_failed(overlay, error.strerror) from error
    try:
        uid, gid, mode = _access(backing, user)
        os.fchown(descriptor, uid, gid)
        os.fchmod(descriptor, mode)
        options = f"backing_file={_escaped(backing)},backing_fmt={backing_format}"
        command = ["qemu-img", "create", "-q", "-u", "-f", "qcow2", "-o", options, overlay, str(virtual_size)]
        # There is no AnsibleModule below main(), and so none of its run_command.
        # pylint: disable-next=ansible-bad-function
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        os.unlink(overlay)
        said = getattr(error, "stderr", None) or str(error)
        raise overlay_failed(overlay, said.strip()) from error
    finally:
        os.close(descriptor)


def own_like(overlay: str, backing: str, user: QemuUser | None = None) -> None:
    """Give an overlay that libvirt made the access that `_access` tells."""
    uid, gid, mode = _access(backing, user)
    found = os.stat(overlay)
    if (found.st_uid, found.st_gid) != (uid, gid):
        os.chown(overlay, uid, gid)
    if found.st_mode & 0o777 != mode:
        os.chmod(overlay, mode)


def _access(backing: str, user: QemuUser | None) -> tuple[int, int, int]:
    """Return owner, group and mode of an overlay: QEMU's user has the rights it had on the base, and nobody else any.

    ``user`` is named where libvirt does not give images to QEMU: there it may have had its rights as one of a group, or as
    anybody. Elsewhere libvirt sees to it at the VM's start, whoever the owner is until then.
    """
    status = os.stat(backing)
    if user is None or user.uid == status.st_uid:
        return status.st_uid, status.st_gid, _PRIVATE
    return user.uid, status.st_gid, (user.bits(status) & 6) << 6


def _escaped(text: str) -> str:
    """A comma separates qemu-img's options, and is doubled inside one."""
    return text.replace(",", ",,")
