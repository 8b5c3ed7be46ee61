# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The map of a host is made of what libvirt says of its VMs; what is not there stays in it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("lxml")

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.file_identity import file_key
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.mounts import Mounts
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.users import read_users
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils.domains import domain

_PERSISTENT, _HAS_SNAPSHOT = 4, 4096


def disk(file: str) -> str:
    source = f"<source file='{file}'/>"
    return f"<disk type='file' device='disk'><driver type='qcow2'/>{source}<target dev='vda'/></disk>"


class Connection:
    """A libvirt with one VM, as it is defined, and the definition in a snapshot of it."""

    def __init__(self, defined: str, past: str = "") -> None:
        snapshot = SimpleNamespace(getXMLDesc=lambda _flags: f"<domainsnapshot>{past}</domainsnapshot>")
        self._vm = SimpleNamespace(
            name=lambda: "app",
            UUIDString=lambda: "uuid",
            XMLDesc=lambda _flags: defined,
            listAllSnapshots=lambda _flags: [snapshot],
        )

    def listAllDomains(self, flag: int) -> list[Any]:  # noqa: N802 - libvirt's name
        return [self._vm] if flag in (_PERSISTENT, _HAS_SNAPSHOT) else []

    def listAllStoragePools(self, _flags: int) -> list[Any]:  # noqa: N802 - libvirt's name
        return []

    def getURI(self) -> str:  # noqa: N802 - libvirt's name
        return "qemu:///system"


@pytest.fixture(autouse=True)
def nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    pools = SimpleNamespace(directories=set)
    monkeypatch.setattr(
        read_users, "sessions", SimpleNamespace(SessionPools=lambda: pools, saved_texts=lambda _system: ())
    )
    monkeypatch.setattr(read_users, "loops", tuple)
    monkeypatch.setattr(read_users, "libvirt", SimpleNamespace(libvirtError=ZeroDivisionError))


def test_a_disk_that_is_there_has_its_user(tmp_path: Path) -> None:
    file = tmp_path / "app.qcow2"
    file.touch()
    users = read_users.read_users(Connection(domain(disk(str(file)))), Mounts())
    assert [str(user) for user in users.of(str(file))] == ["VM app"]
    assert users.absent == {}


def test_a_disk_that_is_not_there_is_noted_and_so_is_what_was_known_of_it(tmp_path: Path) -> None:
    """A snapshot's own names of what is gone are no disk of today."""
    gone, before, base = (str(tmp_path / name) for name in ("app.qcow2", "before.qcow2", "base.qcow2"))
    users = read_users.read_users(Connection(domain(disk(gone)), domain(disk(before))), Mounts())
    assert {file: str(user) for file, user in users.absent.items()} == {gone: "VM app"}
    users.add_noted(lambda uuid: [base] if uuid == "uuid" else [])
    assert [str(user) for user in users.of(base)] == [f"VM app, whose disk {gone} is not there now,"]


def test_a_disk_on_a_file_system_that_does_not_answer_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Mounts, "answers", lambda _self, path: not path.startswith("/dead/"))
    users = read_users.read_users(Connection(domain(disk("/dead/app.qcow2"))), Mounts())
    assert list(users.absent) == ["/dead/app.qcow2"]
    assert users.why_unknown("/dead/other.qcow2")


def test_a_loop_device_uses_a_file_by_whatever_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its path is that of whoever attached it; without the device's node nothing else is known."""
    here, there = (str(tmp_path / name) for name in ("app.qcow2", "data.qcow2"))
    for file in (here, there):
        Path(file).touch()
    monkeypatch.setattr(read_users, "loops", lambda: [("/dev/loop7", "/data/app.qcow2"), ("/dev/loop8", there)])
    monkeypatch.setattr(read_users, "file_of_loop", {"/dev/loop7": file_key(here)}.get)
    users = read_users.read_users(Connection(domain("")), Mounts())
    assert [str(user) for user in users.of(here)] == ["loop device /dev/loop7"]
    assert [str(user) for user in users.of(there)] == ["loop device /dev/loop8"]


def test_a_loop_device_on_a_file_system_that_does_not_answer_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Mounts, "answers", lambda _self, path: not path.startswith("/dead/"))
    monkeypatch.setattr(read_users, "loops", lambda: [("/dev/loop7", "/dead/app.qcow2")])
    monkeypatch.setattr(read_users, "file_of_loop", lambda device: pytest.fail(f"{device} was asked"))
    users = read_users.read_users(Connection(domain("")), Mounts())
    assert "loop device /dev/loop7" in (users.why_unknown("/dead/app.qcow2") or "")
