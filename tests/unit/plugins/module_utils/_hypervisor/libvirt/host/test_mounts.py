# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""File systems that other hosts write to as well, that do not answer, and users' daemons that are not started."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("lxml")
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host import mounts, user_sessions
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.mounts import Mount, Mounts
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.storage import FileSystem

TABLE = [
    Mount("/", "ext4", "8:1"),
    Mount("/srv/images", "nfs4", "0:50"),
    Mount("/srv/images/local", "xfs", "8:2"),
    Mount("/mnt/gluster", "fuse.glusterfs", "0:51"),
    Mount("/mnt/dead", "nfs", "0:52"),
    Mount("/mnt/ceph", "fuse.ceph-fuse", "0:53"),
    Mount("/mnt/new", "a kind of tomorrow", "0:54"),
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
        ("/mnt/ceph/web.qcow2", True),
        ("/mnt/new/web.qcow2", True),
    ],
)
def test_whether_other_hosts_may_use_a_file(table: Mounts, path: str, shared: bool) -> None:
    assert table.of(path).shared is shared


@pytest.mark.parametrize(("path", "answers"), [("/mnt/dead/web.qcow2", False), ("/srv/images/a", True), ("/a", True)])
def test_what_lies_on_a_dead_server_is_not_touched(table: Mounts, path: str, answers: bool) -> None:
    assert table.answers(path) is answers


def test_where_people_put_what_they_base_on_an_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In its folder's folders, above and beside; not on other file systems, and not in the root of all."""
    web, other = tmp_path / "vms" / "web", tmp_path / "vms" / "other"
    for folder in (web / "old", web / "old" / "older", other, tmp_path / "vms" / "mounted", tmp_path / "far"):
        folder.mkdir(parents=True)
    (web / "vda.qcow2").touch()
    mounted = Mount(str(tmp_path / "vms" / "mounted"), "xfs", "8:9")
    monkeypatch.setattr(mounts, "_read", lambda: iter([Mount("/", "ext4", "8:1"), mounted]))
    assert Mounts().nearby([str(web)]) == {str(one) for one in (web, web / "old", web.parent, other)}
    assert "/" not in Mounts().nearby(["/vms"])


def test_where_a_device_is_mounted(table: Mounts) -> None:
    assert table.mounted("8:2") == "/srv/images/local"
    assert table.mounted("9:9") is None


def test_a_server_that_does_not_answer_costs_seconds_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(_point: str) -> None:
        raise OSError

    monkeypatch.setattr(mounts, "_ANSWER_SECONDS", 0.05)
    monkeypatch.setattr(mounts.os, "statvfs", gone)
    assert not mounts._answers("/mnt/dead")


def test_images_are_found_on_their_file_systems_with_the_room_there(
    monkeypatch: pytest.MonkeyPatch, table: Mounts
) -> None:
    """A server that does not answer is told with null: it costs seconds, and hides nobody else."""
    never = threading.Event()
    room = SimpleNamespace(f_blocks=100, f_bavail=7, f_frsize=4096)
    monkeypatch.setattr(mounts, "_ANSWER_SECONDS", 0.05)
    monkeypatch.setattr(mounts.os, "statvfs", lambda point: never.wait() if point == "/mnt/dead" else room)
    files = ["/srv/images/b.qcow2", "/srv/images/a.qcow2", "/mnt/dead/c.qcow2", "/dev/vg/lv"]
    assert mounts.filesystems(files, table) == (
        FileSystem("/mnt/dead", None, None, ("/mnt/dead/c.qcow2",)),
        FileSystem("/srv/images", 409600, 28672, ("/srv/images/a.qcow2", "/srv/images/b.qcow2")),
    )


def test_an_image_behind_a_symbolic_link_is_where_it_really_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.mkdir()
    link.symlink_to(real)
    monkeypatch.setattr(mounts, "_read", lambda: iter([Mount(str(real), "xfs", "8:3")]))
    (found,) = mounts.filesystems([f"{link}/a.qcow2"], Mounts())
    assert (found.path, found.files) == (str(real), (f"{link}/a.qcow2",))
    assert found.total


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


def saved_texts(monkeypatch: pytest.MonkeyPatch, home: Path) -> list[user_sessions.SavedText]:
    monkeypatch.setattr(user_sessions, "_homes", lambda: {str(home)})
    monkeypatch.setattr(user_sessions, "_RUNNING", "/nowhere/*")
    return list(user_sessions.saved_texts(system=True))


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

    monkeypatch.setattr(user_sessions.os, "walk", denied)
    assert [(one.home, one.text) for one in saved_texts(monkeypatch, tmp_path)] == [(str(tmp_path), None)]


def test_the_mounts_of_this_moment_are_read_again_after_a_change_only(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def read() -> Iterator[Mount]:
        asked.append(1)
        return iter(TABLE)

    monkeypatch.setattr(mounts, "_read", read)
    current = mounts._Current()
    assert current() is current()
    assert len(asked) == 1
    monkeypatch.setattr(current, "_changes", SimpleNamespace(poll=lambda _wait: [(3, 10)]))
    current()
    assert len(asked) == 2


def test_where_the_kernel_tells_of_no_change_the_mounts_are_read_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounts, "_TABLE", "/nowhere")
    current = mounts._Current()
    assert current() is not current()
