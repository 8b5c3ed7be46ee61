# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One thing that a start needs, made of what a definition says."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.needed import (
    file_needed,
    folder_needed,
    may_be_missing,
    secrets_needed,
    socket_needed,
)


def element(xml: str) -> ElementTree.Element:
    return ElementTree.fromstring(xml)  # noqa: S314 - ours


def test_a_name_alone_is_qemus_to_find() -> None:
    assert [one.what for path in (" /a ", "a", None) for one in file_needed("its loader", path)] == ["/a"]


def test_a_folder_of_libvirts_own_is_not_needed() -> None:
    paths = ("/srv/a/b", "/run/libvirt/qemu/channel/1-web/agent", "/run/libvirt/qemu/a", None)
    assert [one.what for path in paths for one in folder_needed("a socket", path)] == ["/srv/a"]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("<source path='/a/b'/>", ["/a/b"]),
        ("<source path='/a/b' mode='client'/>", ["/a/b"]),
        ("<source path='/a/b' mode='server'/>", ["/a"]),
        ("<source path='/a/b' mode='bind'/>", ["/a"]),
        ("<source path='/a/b' mode='connect'><reconnect enabled='no'/></source>", ["/a/b"]),
        ("<source path='/a/b' mode='connect'><reconnect enabled='yes'/></source>", []),
    ],
)
def test_a_socket_needs_its_folder(source: str, expected: list[str]) -> None:
    assert [one.what for one in socket_needed("a channel", element(source))] == expected


def test_secrets_are_named_by_uuid_or_usage() -> None:
    disk = "<disk><a><secret uuid='u'/></a><secret type='ceph' usage='client.x'/><secret type='ceph'/></disk>"
    assert [one.what for one in secrets_needed("a disk", element(disk))] == ["u", "ceph:client.x"]


@pytest.mark.parametrize(
    ("policy", "cold", "expected"),
    [("optional", True, True), ("requisite", True, False), ("requisite", False, True), ("mandatory", False, False)],
)
def test_what_a_startup_policy_allows(policy: str, cold: bool, expected: bool) -> None:
    assert may_be_missing(element(f"<source startupPolicy='{policy}'/>"), cold) is expected
