# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What libvirt does not have that a VM needs at a start: networks, volumes, secrets, filters, an emulated TPM.

Only what libvirt says for sure counts; whatever else it answers is no obstacle.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.libraries import (
    libvirt,
    parse,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.starting.host_lacks import is_link

_NO_NETWORK, _NO_POOL, _NO_VOLUME, _NO_FILTER, _NO_SECRET = 43, 49, 50, 62, 66  # virterror.h
_USAGES = {"volume": 1, "ceph": 2, "iscsi": 3, "tls": 4, "vtpm": 5}  # virSecretUsageType
_ACTIVE = 1  # VIR_CONNECT_LIST_DOMAINS_ACTIVE
_MACVTAP = ("bridge", "private", "vepa", "passthrough")
_MAKES_BRIDGE = ("", "nat", "route", "open")


class Lack(NamedTuple):
    """What is wrong with something needed, and what to do about just that ("": what is always to do); "" where nothing is."""

    reason: str = ""
    remedy: str = ""


def network(connection: Any, name: str) -> Lack:
    """Return what is wrong with a network: it is not there, not active, or the host lost the device that it goes through."""
    try:
        found = connection.networkLookupByName(name)
        return _device_gone(parse(found.XMLDesc(0))) if found.isActive() else Lack("is not active")
    except libvirt.libvirtError as error:
        return Lack("is not there" if error.get_error_code() == _NO_NETWORK else "")


def _device_gone(xml: Any) -> Lack:
    if xml.find(".//virtualport") is not None:
        return Lack()  # its bridge is another program's
    name, bridge, forward = xml.findtext("name"), xml.find("bridge"), xml.find("forward")
    mode = "" if forward is None else forward.get("mode", "nat")
    devices = [] if bridge is None else [bridge.get("name")]
    if bridge is None and mode in _MACVTAP:
        devices = [one.get("dev") for one in forward.iterfind("interface")]
    devices = [device for device in devices if device]
    if not devices or any(map(is_link, devices)):
        return Lack()
    again = f"Have libvirt make it again: virsh net-destroy {name} && virsh net-start {name}."
    remedy = again if mode in _MAKES_BRIDGE else "Bring that device back (ip link)."
    return Lack(f"is active, but its network device {devices[0]} is gone", remedy)


def volume(connection: Any, what: str) -> str:
    """Return what is wrong with a volume."""
    pool_name, _slash, name = what.partition("/")
    try:
        pool = connection.storagePoolLookupByName(pool_name)
        if not pool.isActive():
            return f"is in a pool that is not active (virsh pool-start {pool_name})"
        with suppress(libvirt.libvirtError):
            pool.refresh(0)
        pool.storageVolLookupByName(name)
    except libvirt.libvirtError as error:
        return "is not there" if error.get_error_code() in (_NO_POOL, _NO_VOLUME) else ""
    return ""


def secret(connection: Any, what: str) -> str:
    """Return what is wrong with a secret; of a private one nobody can tell whether it has a value."""
    kind, _colon, usage = what.partition(":")
    try:
        if usage and kind in _USAGES:
            found = connection.secretLookupByUsage(_USAGES[kind], usage)
        elif usage:
            return ""
        else:
            found = connection.secretLookupByUUIDString(what)
    except libvirt.libvirtError as error:
        return "is not there" if error.get_error_code() == _NO_SECRET else ""
    try:
        found.value(0)
    except libvirt.libvirtError as error:
        return "has no value" if error.get_error_code() == _NO_SECRET else ""
    return ""


def network_filter(connection: Any, name: str) -> str:
    """Return what is wrong with a network filter."""
    try:
        connection.nwfilterLookupByName(name)
    except libvirt.libvirtError as error:
        return "is not there" if error.get_error_code() == _NO_FILTER else ""
    return ""


def emulated_tpm(connection: Any, domain: Any) -> str:
    """Return what is wrong with the program that emulates a TPM. Libvirt finds it anew for each answer (since 8; 7 does not)."""
    kind = domain.find("os/type")
    words = (
        domain.findtext("devices/emulator"),
        None if kind is None else kind.get("arch"),
        None if kind is None else kind.get("machine"),
        domain.get("type"),
    )
    with suppress(libvirt.libvirtError):
        found = parse(connection.getDomainCapabilities(*words, 0))
        known = [one.text for one in found.iterfind("devices/tpm/enum[@name='backendModel']/value")]
        if known and "emulator" not in known:
            return "is not installed"
    return ""


def guest_number(connection: Any, number: str, own: str) -> str:
    """Return which other VM that runs has a number on the vsock; ``own`` is the UUID of this one."""
    for name, uuid, xml in _running(connection):
        taken = xml.find("devices/vsock/cid")
        if uuid != own and taken is not None and taken.get("address") == number:
            return f"VM {name} has now"
    return ""


def _running(connection: Any) -> Iterator[tuple[str, str, Any]]:
    with suppress(libvirt.libvirtError):
        for native in connection.listAllDomains(_ACTIVE):
            with suppress(libvirt.libvirtError):  # it has ended just now
                yield native.name(), native.UUIDString(), parse(native.XMLDesc(0))
