# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""File systems that other hosts write to as well, that do not answer, and users' daemons that are not started."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

pytest.importorskip("lxml")
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host import mounts, sessions
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.mounts import Mount, Mounts

TABLE = [
    Mount("/", "ext4", "8:1"),
    Mount("/srv/images", "nfs4", "0:50"),
    Mount("/srv/images/local", "xfs", "8:2"),
    Mount("/mnt/gluster", "fuse.glusterfs", "0:51"),
    Mount("/mnt/dead", "nfs", "0:52"),
]


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Mounts:
    monkeypatch.setattr(mounts, "_read", lambda: iter(TABLE))
    monkeypatch.setattr(mounts, "_answers", lambda point: point != "/mnt/dead")
    return Mounts()


@pytest.mark.parametrize(
    ("path", "shared"),
    [
        ("/var/lib/libvirt/images/web.qcow2", False),
        ("/srv/images/web.qcow2", True),
        ("/srv/images/local/web.qcow2", False),
        ("/srv/images-too/web.qcow2", False),
        ("/mnt/gluster/deep/below/web.qcow2", True),
    ],
)
def test_whether_other_hosts_may_use_a_file(table: Mounts, path: str, shared: bool) -> None:
    assert table.of(path).shared is shared


@pytest.mark.parametrize(("path", "answers"), [("/mnt/dead/web.qcow2", False), ("/srv/images/a", True), ("/a", True)])
def test_what_lies_on_a_dead_server_is_not_touched(table: Mounts, path: str, answers: bool) -> None:
    assert table.answers(path) is answers


def test_where_a_device_is_mounted(table: Mounts) -> None:
    assert table.mounted("8:2") == "/srv/images/local"
    assert table.mounted("9:9") is None


def test_a_server_that_does_not_answer_costs_seconds_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(_point: str) -> None:
        raise OSError

    monkeypatch.setattr(mounts, "_ANSWER_SECONDS", 0.05)
    monkeypatch.setattr(mounts.os, "statvfs", gone)
    assert not mounts._answers("/mnt/dead")


def test_what_hangs_is_left_after_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounts, "_ANSWER_SECONDS", 0.05)
    with pytest.raises(TimeoutError):
        mounts.in_time(threading.Event().wait)


def test_what_was_asked_in_time_answers_or_raises_as_if_asked_directly() -> None:
    def broken() -> None:
        raise ValueError("no header")

    assert mounts.in_time(lambda: 7) == 7
    with pytest.raises(ValueError, match="no header"):
        mounts.in_time(broken)


def saved_texts(monkeypatch: pytest.MonkeyPatch, home: Path) -> list[sessions.SavedText]:
    monkeypatch.setattr(sessions, "_homes", lambda: {str(home)})
    monkeypatch.setattr(sessions, "_RUNNING", "/nowhere/*")
    return list(sessions.saved_texts(system=True))


def test_what_a_users_daemon_has_saved_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = tmp_path / ".config/libvirt/qemu"
    for name in ("web.xml", "snapshot/web/s1.xml", "save/web.save", "autostart/notes.txt"):
        (config / name).parent.mkdir(parents=True, exist_ok=True)
        (config / name).write_text("<domain><name>web</name></domain>")
    (config / "save/web.save").write_bytes(b"LibvirtQemudSave\0\2\0\0\0<domain>web</domain>\0" + b"\xff" * 100)
    found = {Path(one.file).name: one.text for one in saved_texts(monkeypatch, tmp_path)}
    assert found == {
        "web.xml": b"<domain><name>web</name></domain>",
        "s1.xml": b"<domain><name>web</name></domain>",
        "web.save": b"<domain>web</domain>",
    }


def test_a_home_without_a_daemon_has_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert saved_texts(monkeypatch, tmp_path) == []


def test_a_home_that_cannot_be_read_is_unknown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".config/libvirt/qemu").mkdir(parents=True)

    def denied(_path: str, onerror: object) -> list[object]:
        assert callable(onerror)
        onerror(PermissionError())
        return []

    monkeypatch.setattr(sessions.os, "walk", denied)
    assert [(one.home, one.text) for one in saved_texts(monkeypatch, tmp_path)] == [(str(tmp_path), None)]
