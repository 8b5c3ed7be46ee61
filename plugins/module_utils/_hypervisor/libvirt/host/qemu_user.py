# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""As whom QEMU runs, and which directories it may pass.

A file's owner is libvirt's business, which gives it to QEMU at the start and takes it back afterwards; the directories on
its way are nobody's. What is not known (access control lists, root with or without its capabilities) is no obstacle.
"""

from __future__ import annotations

import grp
import os
import pwd
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Callable

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.libraries import parse

_ACL = "system.posix_acl_access"
_QEMU_CONF = "/etc/libvirt/qemu.conf"
_NOT_DYNAMIC = re.compile(r"^\s*dynamic_ownership\s*=\s*0\b", re.MULTILINE)
_CAPABILITIES: dict[str, str] = {}


@dataclass(frozen=True)
class QemuUser:
    """A user with the groups it has."""

    uid: int
    groups: frozenset[int]

    def __str__(self) -> str:
        try:
            return pwd.getpwuid(self.uid).pw_name
        except KeyError:
            return f"user {self.uid}"

    @classmethod
    def parse(cls, label: str) -> QemuUser | None:
        """Return whom a label of libvirt's means (``+64055:+64055``, ``libvirt-qemu:kvm``); None for root and the unknown."""
        user, _colon, group = label.partition(":")
        try:
            uid = _number(user, lambda name: pwd.getpwnam(name).pw_uid)
            gid = _number(group, lambda name: grp.getgrnam(name).gr_gid) if group else _main_group(uid)
        except (KeyError, ValueError):
            return None
        return cls(uid, frozenset({gid, *_more_groups(uid)})) if uid else None

    @classmethod
    def of(cls, connection: Any, domain: Any) -> QemuUser | None:
        """Return as whom QEMU runs a VM; None where that is not known, or where it may go anywhere.

        Its own label counts before the host's (``user`` in qemu.conf, which the capabilities tell). Raises `libvirtError`.
        """
        for label in domain.iterfind("seclabel[@model='dac']"):
            if label.get("type") == "none":
                return None
            if label.findtext("label"):
                return cls.parse(label.findtext("label"))
        return cls.parse(_host_label(connection, domain.get("type", "kvm")))

    def may_pass(self, directory: str) -> bool:
        """Whether it may pass a directory; also where that is not known."""
        try:
            status = os.stat(directory)
            if _ACL in os.listxattr(directory):
                return True
        except OSError:
            return True
        return not stat.S_ISDIR(status.st_mode) or bool(self.bits(status) & 1)

    def may_read(self, file: str) -> bool:
        """Whether it may read a file; also where that is not known."""
        try:
            status = os.stat(file)
            return _ACL in os.listxattr(file) or bool(self.bits(status) & 4)
        except OSError:
            return True

    def bits(self, status: os.stat_result) -> int:
        """Return its rights to a file: 4 to read, 2 to write, 1 to execute or pass."""
        if status.st_uid == self.uid:
            return status.st_mode >> 6 & 7
        return status.st_mode >> 3 & 7 if status.st_gid in self.groups else status.st_mode & 7


def _host_label(connection: Any, virt_type: str) -> str:
    """Return the label that libvirt gives by itself; asked once in a run of a module, since it builds all anew each time."""
    uri = connection.getURI()
    if uri not in _CAPABILITIES:
        _CAPABILITIES[uri] = connection.getCapabilities()
    for model in parse(_CAPABILITIES[uri]).iterfind("host/secmodel"):
        label = model.findtext(f"baselabel[@type='{virt_type}']") if model.findtext("model") == "dac" else None
        if label:
            return str(label)
    return ""


def keeps_owner(domain: Any, target: str) -> bool:
    """Whether libvirt is told not to give a disk's images to QEMU: on the whole host, for this VM, or for this disk."""
    labels = domain.findall("seclabel[@model='dac']")
    for disk in domain.iterfind("devices/disk"):
        if disk.find("target").get("dev") == target:
            labels += [one for one in disk.findall("source/seclabel") if one.get("model", "dac") == "dac"]
    if any(label.get("relabel") == "no" for label in labels):
        return True
    try:
        with open(_QEMU_CONF, encoding="utf-8", errors="replace") as file:
            return _NOT_DYNAMIC.search(file.read()) is not None
    except OSError:
        return False


def of_unlabelled(connection: Any, domain: Any) -> dict[str, QemuUser]:
    """Return as whom QEMU runs a VM, by the targets of those disks whose images libvirt does not give to it.

    Raises `libvirtError`.
    """
    targets = [disk.find("target").get("dev") for disk in domain.iterfind("devices/disk")]
    kept = [target for target in targets if keeps_owner(domain, target)]
    user = QemuUser.of(connection, domain) if kept else None
    return dict.fromkeys(kept, user) if user else {}


def _number(text: str, look_up: Callable[[str], int]) -> int:
    return int(text[1:]) if text.startswith("+") else look_up(text)


def _main_group(uid: int) -> int:
    return pwd.getpwuid(uid).pw_gid


def _more_groups(uid: int) -> list[int]:
    with suppress(KeyError):
        user = pwd.getpwuid(uid)
        return os.getgrouplist(user.pw_name, user.pw_gid)
    return []


def closed_directory(file: str, user: QemuUser) -> str | None:
    """Return the first directory on the way to a file that a user may not pass, if any."""
    return next((one for one in _directories(file) if not user.may_pass(one)), None)


def _directories(file: str) -> Iterator[str]:
    """Yield every directory that the kernel passes on the way to a file, those behind symbolic links too."""
    seen: set[str] = set()
    spelled = os.path.abspath(file)
    ways = [spelled]
    while (above := os.path.dirname(ways[-1])) != ways[-1]:
        ways.append(above)
    for way in reversed(ways):
        real = os.path.realpath(way)
        parents = [real] if way != spelled else []
        above = os.path.dirname(real)
        while above not in parents:
            parents.append(above)
            above = os.path.dirname(above)
        for directory in reversed(parents):
            if directory not in seen:
                seen.add(directory)
                yield directory
