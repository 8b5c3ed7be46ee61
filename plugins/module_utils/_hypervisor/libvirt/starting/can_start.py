# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a VM could start, asked before it is stopped: all that its definition needs is there, and QEMU may get at it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, Callable

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.libraries import (
    how_to_install,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.backing_chain import read_chain
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.qemu_user import (
    QemuUser,
    closed_directory,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.starting.host_lacks import (
    file_or_device,
    huge_pages,
    is_link,
    named_pages,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.starting.libvirt_lacks import (
    Lack,
    emulated_tpm,
    guest_number,
    network,
    network_filter,
    secret,
    volume,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.devices import Disk
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.needed import (
    CID,
    FILE,
    FILTER,
    LINK,
    NETWORK,
    PAGES,
    SECRET,
    TPM,
    VOLUME,
    Needed,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.start_needs import needs
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError

_CALLED = {
    NETWORK: "network ",
    LINK: "network device ",
    SECRET: "secret ",
    FILTER: "network filter ",
    CID: "number ",
    TPM: "the program ",
}


@dataclass(frozen=True)
class Starting:
    """A VM that is to be started: its ``domain`` (the XML it starts with), how it is ``running`` now, if it is, and as which
    ``user`` QEMU runs.
    """

    connection: Any
    domain: Any
    user: QemuUser | None = None
    running: Any = None


def check_ready(vm: str, starting: Starting, *, replaced: Collection[str], cold: bool = True) -> None:
    """Raise ``file_missing``, ``file_unreachable``, ``device_missing`` or ``missing_library`` where it could not be started.

    ``replaced`` are targets of disks that will be on other images then; a start that is not ``cold`` loads memory.
    """
    user = starting.user
    for need in needs(vm, starting.domain, replaced, cold):
        lack = _lack(starting, need)
        if lack.reason:
            raise _missing(vm, need, lack)
        if need.opened and user is not None:
            closed = closed_directory(need.what, user)
            if closed:
                raise _unreachable(vm, need, closed, user)


def check_definable(vm: str, starting: Starting) -> None:
    """Raise ``missing_library`` where libvirt would not even define it: it asks the program that emulates a TPM what it can."""
    for need in needs(vm, starting.domain, ()):
        if need.kind == TPM and (lack := _lack(starting, need)).reason:
            raise _missing(vm, need, lack)


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
                raise _missing(vm, need, Lack("is not there")) from error
        except (OSError, ValueError):
            continue  # not ours to look at, and perhaps QEMU's


def _lack(vm: Starting, need: Needed) -> Lack:
    """Return what is wrong with something needed; nothing where nothing is, or where that is not known."""
    if need.kind == NETWORK:
        return network(vm.connection, need.what)
    ask: dict[str, Callable[[], str]] = {
        LINK: lambda: "" if is_link(need.what) else "is not there",
        VOLUME: lambda: volume(vm.connection, need.what),
        SECRET: lambda: secret(vm.connection, need.what),
        FILTER: lambda: network_filter(vm.connection, need.what),
        TPM: lambda: emulated_tpm(vm.connection, vm.domain),
        CID: lambda: guest_number(vm.connection, need.what, vm.domain.findtext("uuid") or ""),
        PAGES: lambda: huge_pages(need.what, vm.running),
    }
    return Lack(ask.get(need.kind, lambda: file_or_device(need.what))())


def _missing(vm: str, need: Needed, lack: Lack) -> KvmError:
    what = named_pages(need.what) if need.kind == PAGES else f"{_CALLED.get(need.kind, '')}{need.what}"
    message = f"{vm} could not start again: {need.whose} needs {what}, which {lack.reason}."
    stands = "Nothing was changed, and the VM was not stopped."
    if need.kind == TPM:
        return KvmError("missing_library", message, f"{stands} {how_to_install([need.what])}", missing=[need.what])
    remedy = f"{stands} {lack.remedy or need.remedy}"
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
