# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Only what libvirt says for sure counts as missing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest

pytest.importorskip("lxml")

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.starting import libvirt_lacks
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.starting.libvirt_lacks import (
    emulated_tpm,
    guest_number,
    network,
    network_filter,
    secret,
    volume,
)

DOMAIN = ElementTree.Element("domain", type="kvm")
CAPABILITIES = (
    "<domainCapabilities><devices><tpm><enum name='backendModel'>{}</enum></tpm></devices></domainCapabilities>"
)


class LibvirtError(Exception):
    """What libvirt raises, with its code."""

    def get_error_code(self) -> int:
        return int(self.args[0])


class Connection:
    """A libvirt with one of each kind: a network, a pool, secrets, a filter, a VM that runs."""

    def __init__(self, network: bool = True, pool: bool = True, xml: str = "<network/>", backends: str = "") -> None:
        self._network, self._pool, self._xml, self._backends = network, pool, xml, backends

    def networkLookupByName(self, name: str) -> Any:  # noqa: N802 - libvirt's name
        if name != "default":
            raise LibvirtError(43)
        return SimpleNamespace(isActive=lambda: self._network, XMLDesc=lambda _flags: self._xml)

    def storagePoolLookupByName(self, name: str) -> Any:  # noqa: N802 - libvirt's name
        if name != "pool":
            raise LibvirtError(49)
        return SimpleNamespace(
            isActive=lambda: self._pool, refresh=lambda _flags: None, storageVolLookupByName=self._volume
        )

    def _volume(self, name: str) -> None:
        if name != "volume":
            raise LibvirtError(50 if name == "gone" else 38)

    def secretLookupByUUIDString(self, uuid: str) -> Any:  # noqa: N802 - libvirt's name
        if uuid in ("gone", "odd"):
            raise LibvirtError(66 if uuid == "gone" else 38)
        return SimpleNamespace(value=lambda _flags: self._value(uuid))

    def _value(self, uuid: str) -> bytes:
        if uuid in ("empty", "private"):
            raise LibvirtError(66 if uuid == "empty" else 65)
        return b"x"

    def secretLookupByUsage(self, kind: int, usage: str) -> Any:  # noqa: N802 - libvirt's name
        return self.secretLookupByUUIDString(usage if kind == 2 else "gone")

    def nwfilterLookupByName(self, name: str) -> None:  # noqa: N802 - libvirt's name
        if name != "clean-traffic":
            raise LibvirtError(62 if name == "gone" else 3)

    def getDomainCapabilities(self, *_words: Any) -> str:  # noqa: N802 - libvirt's name
        return CAPABILITIES.format(self._backends)

    def listAllDomains(self, _flags: int) -> list[Any]:  # noqa: N802 - libvirt's name
        xml = "<domain><devices><vsock><cid address='42'/></vsock></devices></domain>"
        return [SimpleNamespace(name=lambda: "db", UUIDString=lambda: "u1", XMLDesc=lambda _flags: xml)]


@pytest.fixture(autouse=True)
def errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libvirt_lacks, "libvirt", SimpleNamespace(libvirtError=LibvirtError))


BRIDGE = "<network><name>n</name>{}<bridge name='{}'/></network>"


@pytest.mark.parametrize(
    ("name", "connection", "reason", "remedy"),
    [
        ("default", Connection(), "", ""),
        ("default", Connection(network=False), "is not active", ""),
        ("other", Connection(), "is not there", ""),
        ("default", Connection(xml=BRIDGE.format("", "lo")), "", ""),
        ("default", Connection(xml=BRIDGE.format("", "gone0")), "gone0 is gone", "virsh net-destroy n"),
        (
            "default",
            Connection(xml=BRIDGE.format("<forward mode='nat'/>", "gone0")),
            "gone0 is gone",
            "virsh net-start n",
        ),
        ("default", Connection(xml=BRIDGE.format("<forward mode='bridge'/>", "gone0")), "gone0 is gone", "ip link"),
        ("default", Connection(xml=BRIDGE.format("<virtualport type='openvswitch'/>", "gone0")), "", ""),
        (
            "default",
            Connection(xml="<network><forward mode='passthrough'><interface dev='gone0'/></forward></network>"),
            "gone0 is gone",
            "ip link",
        ),
        (
            "default",
            Connection(
                xml="<network><forward mode='bridge'><interface dev='gone0'/><interface dev='lo'/></forward></network>"
            ),
            "",
            "",
        ),
    ],
)
def test_a_network_and_the_device_that_it_goes_through(
    name: str, connection: Connection, reason: str, remedy: str
) -> None:
    lack = network(connection, name)
    assert bool(lack.reason) is bool(reason)
    assert reason in lack.reason
    assert remedy in lack.remedy


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("pool/volume", ""),
        ("pool/gone", "is not there"),
        ("pool/unknown", ""),
        ("other/volume", "is not there"),
    ],
)
def test_a_volume_is_looked_for_in_its_pool(what: str, reason: str) -> None:
    assert volume(Connection(), what) == reason
    assert "virsh pool-start pool" in volume(Connection(pool=False), "pool/volume")


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("there", ""),
        ("gone", "is not there"),
        ("odd", ""),
        ("empty", "has no value"),
        ("private", ""),
        ("ceph:there", ""),
        ("ceph:gone", "is not there"),
        ("new kind:gone", ""),
    ],
)
def test_a_secret_has_to_have_a_value(what: str, reason: str) -> None:
    assert secret(Connection(), what) == reason


@pytest.mark.parametrize(("name", "reason"), [("clean-traffic", ""), ("gone", "is not there"), ("no driver", "")])
def test_a_network_filter_is_looked_for(name: str, reason: str) -> None:
    assert network_filter(Connection(), name) == reason


@pytest.mark.parametrize(
    ("backends", "reason"),
    [
        ("", ""),
        ("<value>passthrough</value>", "is not installed"),
        ("<value>passthrough</value><value>emulator</value>", ""),
    ],
)
def test_an_emulated_tpm_needs_its_program(backends: str, reason: str) -> None:
    assert emulated_tpm(Connection(backends=backends), DOMAIN) == reason


def test_a_number_of_a_vsock_that_another_vm_has() -> None:
    assert guest_number(Connection(), "42", "own") == "VM db has now"
    assert guest_number(Connection(), "42", "u1") == guest_number(Connection(), "43", "own") == ""
