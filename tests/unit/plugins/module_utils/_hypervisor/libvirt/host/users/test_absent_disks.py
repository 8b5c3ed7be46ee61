# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks that are not there are told, with the storage that is to be mounted first, and only where it may matter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.mounts import Mount
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.users import absent_disks
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.users.absent_disks import (
    absence,
    declared_mounts,
)


class Mounts:
    """One file system, and a second one on /data."""

    def of(self, path: str) -> Mount:
        return Mount("/data" if path == "/data" else "/", "ext4", "8:1")

    def answers(self, path: str) -> bool:
        return not path.startswith("/dead/")


@pytest.fixture(autouse=True)
def declared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fstab").write_text(
        "# /none /none none\n\nUUID=a /data ext4\nhost:/x /srv/two\\040words nfs\nswap none swap\n"
    )
    (tmp_path / "srv-vm.mount").write_text("[Mount]\nWhat=host:/vm\nWhere=/srv/vm/\n")
    monkeypatch.setattr(absent_disks, "_TABLE", str(tmp_path / "fstab"))
    monkeypatch.setattr(absent_disks, "_UNITS", (str(tmp_path / "*.mount"),))


def told(*files: str, bases: tuple[str, ...] = ("/base",)) -> str:
    mounts: Any = Mounts()
    return "".join(absence(dict.fromkeys(files, "VM app"), bases, mounts))


def test_mounts_are_declared_in_a_table_and_in_units() -> None:
    assert declared_mounts() == {"/data", "/srv/two words", "/srv/vm"}


@pytest.mark.parametrize(
    ("file", "why"),
    [
        ("/srv/vm/a/app.qcow2", "/srv/vm is not mounted"),
        ("/srv/vms/app.qcow2", "the file is not there"),
        ("/data/app.qcow2", "the file is not there"),
        ("/dead/app.qcow2", "its file system does not answer"),
    ],
)
def test_why_a_disk_is_not_there_is_told(file: str, why: str) -> None:
    assert f"{file} of VM app ({why})" in told(file)
    assert "based on /base," in told(file)


def test_nothing_is_told_where_nothing_is_merged_or_all_is_there() -> None:
    assert (told(), told("/a", bases=())) == ("", "")


def test_many_are_counted() -> None:
    assert ", and of 2 more." in told(*(f"/gone/{number}" for number in range(5)))
