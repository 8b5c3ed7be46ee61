# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading the map of who uses what: from libvirt's own word, and from what users' own daemons have saved."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.libraries import (
    libvirt,
    parse,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.pool_volumes import (
    volume_path,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host import (
    pool_directories as volumes,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host import user_sessions as sessions
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.file_users import User, Users
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.kernel_holders import (
    file_of_loop,
    is_deleted,
    loops,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.mounts import Mounts
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.real_paths import real_path
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.users.saved_memory import (
    DIRECTORY,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.named_files import (
    NamedFile,
    NamedVolume,
    named_files,
    named_volumes,
)

# virConnectListAllDomainsFlags
_ACTIVE, _PERSISTENT, _HAS_SNAPSHOT, _HAS_CHECKPOINT, _HAS_MANAGED_SAVE = 1, 4, 4096, 16384, 256
_INACTIVE = 2  # VIR_DOMAIN_XML_INACTIVE
_GONE = (42, 72, 80)  # virterror.h: no domain, no snapshot, no checkpoint: removed at this very moment
_DEFINITIONS = "/etc/libvirt/qemu/{}.xml"


def read_users(connection: Any, mounts: Mounts) -> Users:
    """Read the map. Raises `libvirtError`."""
    return _Reader(connection, mounts).read()


class _Reader:
    def __init__(self, connection: Any, mounts: Mounts) -> None:
        self._connection = connection
        self._mounts = mounts
        self._users = Users()
        self._added: set[tuple[NamedFile, User]] = set()

    def read(self) -> Users:
        connection = self._connection
        self._users.directories.update(map(real_path, filter(self._mounts.answers, volumes.directories(connection))))
        for flag, texts, what in (
            (_ACTIVE, _running, ""),
            (_PERSISTENT, _definition, ""),
            (_HAS_SNAPSHOT, _snapshots, "a snapshot of "),
            (_HAS_CHECKPOINT, _checkpoints, "a checkpoint of "),
            (_HAS_MANAGED_SAVE, _managed_save, "the saved memory of "),
        ):
            for native in connection.listAllDomains(flag):
                uuid = native.UUIDString()
                if flag == _HAS_CHECKPOINT:
                    self._users.with_checkpoints.add(uuid)
                if flag == _HAS_MANAGED_SAVE:
                    saved = os.path.join(DIRECTORY, f"{native.name()}.save")
                    self._users.add(saved, User(f"VM {native.name()}", uuid, False, False), image=False)
                for text in _there(texts, native):
                    self._add_text(text, f"{what}VM {native.name()}", uuid, past=bool(what))
        self._add_sessions()
        self._add_loops()
        self._users.directories |= self._mounts.nearby(self._users.directories) | self._users.device_directories
        self._users.directories.add(DIRECTORY)  # some put there what they save themselves
        return self._users

    def _add_text(self, text: str, name: str, uuid: str, past: bool = False) -> None:
        root = parse(text)
        found = set(named_files(root))
        elsewhere = {named.path for named in found if not named.image}
        for named in found:
            self._add(named, User(name, uuid, past or named.path not in elsewhere, named.writes and not past))
        for volume in named_volumes(root) if "volume=" in text else ():
            self._add_volume(volume, User(name, uuid, True, volume.writes and not past))

    def _add(self, named: NamedFile, user: User) -> None:
        if (named, user) in self._added:  # a VM's snapshots mostly name the same files
            return
        self._added.add((named, user))
        if self._mounts.answers(named.path):
            self._users.add(named.path, user, user.images or named.drive)
            return
        self._users.unknown[os.path.dirname(named.path)] = f"its file system does not answer, and {user} uses it"
        if user.writes:
            self._users.absent[named.path] = user

    def _add_volume(self, named: NamedVolume, user: User) -> None:
        path = volume_path(self._connection, named.pool, named.volume)
        path = path or volumes.likely_path(self._connection, named.pool, named.volume)
        if path:
            self._add(NamedFile(path, True, named.writes), user)

    def _add_loops(self) -> None:
        for device, path in loops():
            user = User(f"loop device {device}", "", False, False)
            if not self._mounts.answers(path):
                self._users.unknown[os.path.dirname(path)] = f"its file system does not answer, and {user} uses it"
            elif key := file_of_loop(device):
                self._users.add_file(key, user)
            elif not is_deleted(path):
                self._users.add(path, user, image=False)

    def _add_sessions(self) -> None:
        pools = sessions.SessionPools()
        self._users.directories.update(map(real_path, filter(self._mounts.answers, pools.directories())))
        system = self._connection.getURI().endswith("/system")
        for saved in sessions.saved_texts(system):
            root = saved.root()
            if root is None:
                if saved.text != b"":
                    self._users.unknown[saved.home] = f"{saved.file} cannot be read"
                continue
            domain = next(root.iter("domain"), root)
            name = domain.findtext("name") or os.path.basename(saved.file)
            # A VM that somebody has defined in a session too, with the UUID that it has here, is another one for all that.
            uuid = "" if system else domain.findtext("uuid") or ""
            user = User(f"VM {name} ({saved.file})", uuid, True, False)
            for named in named_files(root):
                self._add(named, User(user.name, user.uuid, True, named.writes and root.tag == "domain"))
            for volume in named_volumes(root):
                path = pools.path(saved.home, volume.pool, volume.volume)
                if path:
                    self._add(NamedFile(path, True, volume.writes), user)
                elif path is None:
                    self._users.unknown[saved.home] = (
                        f"{saved.file} names a volume of pool {volume.pool}, which is not there"
                    )


def _there(texts: Any, native: Any) -> Iterator[str]:
    try:
        yield from texts(native)
    except libvirt.libvirtError as error:
        if error.get_error_code() not in _GONE:
            raise


def _running(native: Any) -> Iterator[str]:
    yield _described(native, 0)


def _definition(native: Any) -> Iterator[str]:
    yield _described(native, _INACTIVE)


def _described(native: Any, flags: int) -> str:
    try:
        return str(native.XMLDesc(flags))
    except libvirt.libvirtError as error:
        if error.get_error_code() in _GONE:
            raise
        # It does not answer now (libvirt 11.0 to 11.4 while it comes in by migration); its definition is a file.
        try:
            with open(_DEFINITIONS.format(native.name()), encoding="utf-8") as file:
                return file.read()
        except OSError:
            raise error from None


def _snapshots(native: Any) -> Iterator[str]:
    for snapshot in native.listAllSnapshots(0):
        yield from _there(lambda one: (one.getXMLDesc(0),), snapshot)


def _checkpoints(native: Any) -> Iterator[str]:
    for checkpoint in native.listAllCheckpoints(0):
        yield from _there(lambda one: (one.getXMLDesc(0),), checkpoint)


def _managed_save(native: Any) -> Iterator[str]:
    yield native.managedSaveGetXMLDesc(0)
