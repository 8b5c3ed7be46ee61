# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What users' own libvirt daemons have saved is read from their homes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host import user_sessions
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.user_sessions import (
    pool_texts,
    saved_texts,
)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The one home of this host, and no daemon that runs."""
    monkeypatch.setattr(user_sessions, "_homes", lambda: {str(tmp_path)})
    monkeypatch.setattr(user_sessions, "_RUNNING", str(tmp_path / "none*"))
    monkeypatch.setattr(user_sessions, "_SYSTEM", str(tmp_path / "system*.xml"))
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
    (home / "system1.xml").write_text("<domain/>")
    assert texts(system=True) == {}
    assert texts(system=False) == {"system1.xml": b"<domain/>"}


def test_a_home_that_cannot_be_read_is_unknown_and_not_empty(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_sessions, "_below", lambda _directory: iter([None]))
    assert [(one.home, one.text) for one in saved_texts(True)] == [(str(home), None)]


def test_pools_that_users_have_defined_are_read(home: Path) -> None:
    (home / ".config/libvirt/storage/p.xml").write_text("<pool/>")
    (home / ".config/libvirt/storage/empty.xml").write_text("")
    assert list(pool_texts()) == [b"<pool/>"]
