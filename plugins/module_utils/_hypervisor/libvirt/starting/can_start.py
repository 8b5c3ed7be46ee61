# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a VM could start, asked before it is stopped: all that its definition needs is there, and QEMU may get at it."""

from __future__ import annotations

import os
import shlex
import socket
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from typing import Any

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.libraries import libvirt
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.backing_chain import read_chain
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.qemu_user import (
    QemuUser,
    closed_directory,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.devices import Disk
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.start_needs import (
    DEVICE,
    FILE,
    LINK,
    NETWORK,
    VOLUME,
    Needed,
    needs,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError

_NO_NETWORK, _NO_POOL, _NO_VOLUME = 43, 49, 50  # virterror.h
_USB = "/sys/bus/usb/devices"


def check_ready(
    vm: str, connection: Any, domain: Any, user: QemuUser | None, *, replaced: Collection[str], cold: bool = True
) -> None:
    """Raise ``file_missing``, ``file_unreachable`` or ``device_missing`` where a VM of this XML could not be started.

    ``replaced`` are targets of disks that will be on other images then; a start that is not ``cold`` loads memory.
    """
    for need in needs(vm, domain, replaced, cold):
        reason = _lack(connection, need)
        if reason:
            raise _missing(vm, need, reason)
        if need.opened and user is not None:
            closed = closed_directory(need.what, user)
            if closed:
                raise _unreachable(vm, need, closed, user)


def check_overlay_directory(vm: str, directory: str, user: QemuUser | None, or_else: str = "") -> None:
    """Raise ``overlay_dir_unusable`` where QEMU could not open an overlay in a directory."""
    closed = closed_directory(os.path.join(directory, "overlay"), user) if user else None
    if user is None or closed is None:
        return
    raise KvmError(
        "overlay_dir_unusable",
        f"{vm} cannot have overlays in {directory}: QEMU runs as {user} and may not pass {closed}.",
        f"Nothing was changed. Let it pass: chmod o+x {closed}.{or_else}",
        directory=directory,
        closed=closed,
    )


def check_writable(vm: str, directory: str) -> None:
    """Raise ``overlay_dir_unusable`` where no overlay could be made in a directory."""
    reason = remedy = ""
    if not os.path.isdir(directory):
        reason, remedy = "is not there", f"Create it: mkdir -p {shlex.quote(directory)}."
    elif not os.access(directory, os.W_OK | os.X_OK) or os.statvfs(directory).f_flag & os.ST_RDONLY:
        reason, remedy = "cannot be written", "Make the directory writable."
    if reason:
        raise KvmError(
            "overlay_dir_unusable",
            f"{vm} needs a new overlay in {directory}, which {reason}.",
            f"Nothing was changed, and the VM was not stopped. {remedy}",
            directory=directory,
        )


def check_layers(vm: str, stay: Iterable[Disk]) -> None:
    """Raise ``file_missing`` where a layer of a disk that will ``stay`` on its image is gone: QEMU that runs has it open still.

    Where the disk itself is gone, `check_ready` says so, or its ``startupPolicy`` allows that.
    """
    for disk in stay:
        try:
            read_chain(str(disk.source), disk.format)
        except FileNotFoundError as error:
            if error.filename and os.path.exists(str(disk.source)):
                remedy = (
                    f"Bring it back before {vm} is stopped. Or copy what a running QEMU still has open into the disk's own "
                    f"image: virsh blockpull {vm} {disk.target} --wait."
                )
                need = Needed(FILE, f"disk {disk.target}", str(error.filename), remedy)
                raise _missing(vm, need, "is not there") from error
        except (OSError, ValueError):
            continue  # not ours to look at, and perhaps QEMU's


def _lack(connection: Any, need: Needed) -> str:
    """Return what is wrong with something needed; "" where nothing is, or where that is not known."""
    if need.kind == NETWORK:
        return _network(connection, need.what)
    if need.kind == LINK:
        return _link(need.what)
    if need.kind == VOLUME:
        return _volume(connection, need.what)
    if need.kind == DEVICE and need.what.startswith("usb:"):
        return "" if need.what[len("usb:") :] in set(_usb_ids()) else "is not plugged in"
    try:
        os.stat(need.what)
    except (FileNotFoundError, NotADirectoryError):
        return "is not there"
    except OSError:
        return ""  # not ours to look at, and perhaps QEMU's
    return ""


def _network(connection: Any, name: str) -> str:
    try:
        return "" if connection.networkLookupByName(name).isActive() else "is not active"
    except libvirt.libvirtError as error:
        return "is not there" if error.get_error_code() == _NO_NETWORK else ""


def _link(name: str) -> str:
    # Not by /sys/class/net: in a container that may show another network's.
    try:
        socket.if_nametoindex(name)
    except OSError:
        return "is not there"
    return ""


def _volume(connection: Any, what: str) -> str:
    pool_name, _slash, volume = what.partition("/")
    try:
        pool = connection.storagePoolLookupByName(pool_name)
        if not pool.isActive():
            return f"is in a pool that is not active (virsh pool-start {pool_name})"
        with suppress(libvirt.libvirtError):
            pool.refresh(0)
        pool.storageVolLookupByName(volume)
    except libvirt.libvirtError as error:
        return "is not there" if error.get_error_code() in (_NO_POOL, _NO_VOLUME) else ""
    return ""


def _usb_ids() -> Iterator[str]:
    for name in os.listdir(_USB) if os.path.isdir(_USB) else ():
        with suppress(OSError):
            ids = []
            for part in ("idVendor", "idProduct"):
                with open(os.path.join(_USB, name, part), encoding="ascii") as file:
                    ids.append(file.read().strip())
            yield ":".join(ids)


def _missing(vm: str, need: Needed, reason: str) -> KvmError:
    what = {NETWORK: "network ", LINK: "network device "}.get(need.kind, "") + need.what
    message = f"{vm} could not start again: {need.whose} needs {what}, which {reason}."
    remedy = f"Nothing was changed, and the VM was not stopped. {need.remedy}"
    if need.kind in (FILE, VOLUME):
        return KvmError("file_missing", message, remedy, missing=need.what, files=[need.what])
    return KvmError("device_missing", message, remedy, missing=need.what)


def _unreachable(vm: str, need: Needed, closed: str, user: QemuUser) -> KvmError:
    return KvmError(
        "file_unreachable",
        f"{vm} could not start again: {need.whose} needs {need.what}, but QEMU runs as {user} and may not pass {closed}.",
        f"Nothing was changed, and the VM was not stopped. Let it pass: chmod o+x {closed}.",
        file=need.what,
        closed=closed,
    )


def check_images(vm: str, target: str, images: Iterable[str], user: QemuUser | None, relabelled: bool) -> None:
    """Raise ``file_unreachable`` where QEMU could not open the images that a disk will be on.

    The files themselves are judged only where libvirt does not give them to QEMU.
    """
    for image in images if user else ():
        if user is None:
            return
        needed = Needed(FILE, f"disk {target}", image, "", True)
        closed = closed_directory(image, user)
        if closed:
            raise _unreachable(vm, needed, closed, user)
        if not relabelled and not user.may_read(image):
            raise KvmError(
                "file_unreachable",
                f"{vm} could not start again: disk {target} needs {image}, but QEMU runs as {user} and may not read it, and "
                "libvirt on this host is configured not to change its owner.",
                "Nothing was changed, and the VM was not stopped. Give it to QEMU: chown "
                f"{str(user).removeprefix('user ')} {shlex.quote(image)}.",
                file=image,
            )
