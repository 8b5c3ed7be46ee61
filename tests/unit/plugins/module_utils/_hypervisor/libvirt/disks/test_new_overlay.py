# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose an overlay is: QEMU's user has the rights it had on the base, and nobody else has any."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks import new_overlay
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.new_overlay import (
    create_overlay,
    own_like,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.qemu_user import QemuUser
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError


@pytest.fixture
def base(tmp_path: Path) -> Path:
    file = tmp_path / "base"
    file.touch()
    file.chmod(0o664)
    return file


def test_an_overlay_is_closed_to_everybody_but_its_owner(base: Path, tmp_path: Path) -> None:
    overlay = tmp_path / "overlay"
    overlay.touch(0o644)
    own_like(str(overlay), str(base))
    assert overlay.stat().st_mode & 0o777 == 0o600


def test_a_user_of_the_bases_group_gets_the_rights_of_that_group(base: Path) -> None:
    status = base.stat()
    user = QemuUser(status.st_uid + 1, frozenset({status.st_gid}))
    assert new_overlay._access(str(base), user) == (user.uid, status.st_gid, 0o600)
    base.chmod(0o640)
    assert new_overlay._access(str(base), user) == (user.uid, status.st_gid, 0o400)
    stranger = QemuUser(status.st_uid + 1, frozenset({status.st_gid + 1}))
    assert new_overlay._access(str(base), stranger)[2] == 0


def test_a_file_that_is_there_already_is_never_written_over(base: Path) -> None:
    with pytest.raises(KvmError) as refused:
        create_overlay(str(base), str(base), "qcow2", 1 << 20)
    assert refused.value.error_code == "overlay_failed"
    assert base.stat().st_size == 0


def test_an_overlay_that_could_not_be_made_leaves_no_file(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # no qemu-img there
    with pytest.raises(KvmError) as refused:
        create_overlay(str(tmp_path / "new"), str(base), "qcow2", 1 << 20)
    assert refused.value.error_code == "overlay_failed"
    assert not os.path.lexists(tmp_path / "new")


def test_a_comma_in_a_path_is_no_end_of_an_option() -> None:
    assert new_overlay._escaped("/vm/a,size=1") == "/vm/a,,size=1"
