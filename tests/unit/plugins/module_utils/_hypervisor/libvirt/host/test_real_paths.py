# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file that several mounts show has one name, and two files never have."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host import mounts, real_paths
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.mounts import Mount, Mounts

ROOT = Mount("/", "ext4", "8:1", "/")


def first(monkeypatch: pytest.MonkeyPatch, *mounted: Mount, same: bool = True) -> real_paths._FirstNames:
    """Return the names on a host with these mounts, whose directories are the same ones, as they should be, or are not."""
    keys = iter(range(1000))

    def key(_directory: str) -> Optional[tuple[int, int]]:
        return (1, 1 if same else next(keys))

    monkeypatch.setattr(mounts, "_read", lambda: iter(mounted))
    monkeypatch.setattr(real_paths, "_key", key)
    return real_paths._FirstNames(Mounts())


def test_a_bind_mount_is_called_as_what_it_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    names = first(monkeypatch, ROOT, Mount("/srv/vm", "ext4", "8:1", "/data/vm"))
    assert names("/srv/vm/a/disk") == "/data/vm/a/disk"
    assert names("/srv/vm") == "/data/vm"
    assert names("/srv/vms/disk") == "/srv/vms/disk"
    assert names("/data/vm/disk") == "/data/vm/disk"


def test_a_file_system_that_is_mounted_twice_is_called_as_the_first_time(monkeypatch: pytest.MonkeyPatch) -> None:
    names = first(monkeypatch, ROOT, Mount("/b", "xfs", "8:2", "/"), Mount("/a", "xfs", "8:2", "/"))
    assert (names("/a/disk"), names("/b/disk")) == ("/b/disk", "/b/disk")


def test_a_part_of_what_another_mount_shows_as_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    names = first(monkeypatch, ROOT, Mount("/x", "xfs", "8:2", "/vm"), Mount("/y", "xfs", "8:2", "/vm/web"))
    assert names("/y/disk") == "/x/web/disk"


def test_what_is_mounted_over_is_not_what_is_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    over = Mount("/data/vm", "xfs", "8:2", "/")
    names = first(monkeypatch, ROOT, Mount("/srv/vm", "ext4", "8:1", "/data/vm"), over)
    assert names("/srv/vm/disk") == "/srv/vm/disk"
    deeper = first(monkeypatch, ROOT, Mount("/srv", "ext4", "8:1", "/data"), over)
    assert (deeper("/srv/vm/disk"), deeper("/srv/disk")) == ("/srv/vm/disk", "/data/disk")


def test_parts_of_a_server_that_all_call_themselves_its_root_stay_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = Mount("/a", "nfs4", "0:50", "/"), Mount("/b", "nfs4", "0:50", "/")
    names = first(monkeypatch, ROOT, *parts, same=False)
    assert (names("/a/disk"), names("/b/disk")) == ("/a/disk", "/b/disk")


def test_a_server_that_does_not_answer_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = Mount("/a", "nfs4", "0:50", "/"), Mount("/b", "nfs4", "0:50", "/vm")
    monkeypatch.setattr(Mounts, "answers", lambda _self, _path: False)
    assert first(monkeypatch, ROOT, *parts)("/b/disk") == "/b/disk"


def test_what_is_no_path_of_this_host_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    names = first(monkeypatch, ROOT, Mount("/srv/vm", "ext4", "8:1", "/data/vm"))
    assert [names(one) for one in ("", "device 1793", "nbd://host/x")] == ["", "device 1793", "nbd://host/x"]


def test_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert real_paths.real_path(str(tmp_path / "link")) == real_paths.real_path(str(tmp_path / "file"))
