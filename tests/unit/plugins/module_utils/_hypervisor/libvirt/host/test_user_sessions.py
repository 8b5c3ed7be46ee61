# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What users' own libvirt daemons have saved is read from their homes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest.importorskip("lxml")

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host import user_sessions
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.user_sessions import (
    SessionPools,
    saved_texts,
)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The one home of this host, and no daemon that runs."""
    monkeypatch.setattr(user_sessions, "_homes", lambda: {str(tmp_path)})
    monkeypatch.setattr(user_sessions, "_RUNTIME", str(tmp_path / "user"))
    monkeypatch.setattr(user_sessions, "SYSTEM", str(tmp_path / "etc"))
    monkeypatch.setattr(user_sessions, "_SYSTEM_POOLS", str(tmp_path / "pools/*.xml"))
    (tmp_path / ".config/libvirt/qemu/snapshot/web01").mkdir(parents=True)
    (tmp_path / ".config/libvirt/storage").mkdir()
    return tmp_path


def texts(system: bool = True) -> dict[str, bytes | None]:
    return {os.path.basename(one.file): one.text for one in saved_texts(system)}


def test_definitions_and_snapshots_below_a_home_are_read(home: Path) -> None:
    (home / ".config/libvirt/qemu/web01.xml").write_text("<domain/>")
    (home / ".config/libvirt/qemu/snapshot/web01/s.xml").write_text("<domainsnapshot/>")
    (home / ".config/libvirt/qemu/notes.txt").write_text("no XML")
    assert texts() == {"web01.xml": b"<domain/>", "s.xml": b"<domainsnapshot/>"}


def test_saved_memory_begins_with_the_vms_definition(home: Path) -> None:
    saved = home / ".config/libvirt/qemu/web01.save"
    saved.write_bytes(b"LibvirtQemudSave\0\1<domain>a</domain>\0memory")
    assert texts() == {"web01.save": b"<domain>a</domain>"}
    saved.write_bytes(b"cut short <domain>a")
    assert texts() == {"web01.save": b""}


def test_the_systems_vms_are_others_to_a_session(home: Path) -> None:
    (home / "etc").mkdir()
    (home / "etc/system1.xml").write_text("<domain/>")
    assert texts(system=True) == {}
    assert texts(system=False) == {"system1.xml": b"<domain/>"}


def test_a_home_that_cannot_be_read_is_unknown_and_not_empty(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_sessions, "_below", lambda _directory: iter([None]))
    assert [(one.home, one.text) for one in saved_texts(True)] == [(str(home), None)]


def pool(name: str, directory: str) -> str:
    return f"<pool type='dir'><name>{name}</name><target><path>{directory}</path></target></pool>"


def test_a_volume_lies_in_its_own_users_pool(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two users' pools have one name, and the system has one that is called so too."""
    other = home / "other"
    for where, directory in ((home, "/a"), (other, "/b")):
        (where / ".config/libvirt/storage").mkdir(parents=True, exist_ok=True)
        (where / ".config/libvirt/storage/vms.xml").write_text(pool("vms", directory))
    (home / ".config/libvirt/storage/empty.xml").write_text("")
    (home / "pools").mkdir()
    (home / "pools/vms.xml").write_text(pool("vms", "/c"))
    monkeypatch.setattr(user_sessions, "_homes", lambda: {str(home), str(other)})
    pools = SessionPools()
    assert pools.directories() == {"/a", "/b", "/c"}
    places = [pools.path(str(one), "vms", "v.qcow2") for one in (home, other)]
    assert places == ["/a/v.qcow2", "/b/v.qcow2"]
    assert pools.path(str(home), "others", "v.qcow2") is None


def test_a_vm_that_runs_has_volumes_of_its_users_pools(home: Path) -> None:
    user = home / "user" / str(os.stat(home).st_uid)
    (user / "libvirt/qemu/run").mkdir(parents=True)
    (user / "libvirt/qemu/run/web01.xml").write_text("<domstatus><domain/></domstatus>")
    (home / ".config/libvirt/storage/vms.xml").write_text(pool("vms", "/a"))
    (saved,) = [one for one in saved_texts(True) if one.file.endswith("web01.xml")]
    assert SessionPools().path(saved.home, "vms", "v.qcow2") == "/a/v.qcow2"


def test_a_pool_that_is_not_defined_is_known_while_it_runs(home: Path) -> None:
    runs = home / "user" / str(os.stat(home).st_uid) / "libvirt/storage/run"
    runs.mkdir(parents=True)
    (runs / "vms.xml").write_text(f"<poolstate>{pool('vms', '/a')}</poolstate>")
    assert SessionPools().path(str(home), "vms", "v.qcow2") == "/a/v.qcow2"
