# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""As whom QEMU runs, by libvirt's labels, and what that user may do with a file."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("lxml")
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.libraries import parse
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host import qemu_user
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.qemu_user import QemuUser
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils.domains import disk, domain

UNKNOWN = 54321
QEMU = QemuUser(UNKNOWN, frozenset({UNKNOWN}))


@pytest.mark.parametrize("label", ["+0:+0", "root:root", "", "nobody-has-this-name:+5", "+x:+5"])
def test_root_and_the_unknown_are_nobody_in_particular(label: str) -> None:
    assert QemuUser.parse(label) is None


def test_a_label_by_numbers_needs_no_such_user() -> None:
    assert QemuUser.parse(f"+{UNKNOWN}:+{UNKNOWN}") == QEMU
    assert str(QEMU) == f"user {UNKNOWN}"


@pytest.mark.parametrize(
    ("uid", "gid", "mode", "bits"),
    [
        (UNKNOWN, 0, 0o604, 6),  # the owner's, and not the more that others have
        (UNKNOWN, UNKNOWN, 0o077, 0),
        (0, UNKNOWN, 0o640, 4),
        (0, UNKNOWN, 0o607, 0),  # of its group, so what others may does not count
        (0, 0, 0o751, 1),
    ],
)
def test_rights_are_of_the_first_class_that_fits(uid: int, gid: int, mode: int, bits: int) -> None:
    status = SimpleNamespace(st_uid=uid, st_gid=gid, st_mode=0o100000 | mode)
    assert QEMU.bits(status) == bits


def test_a_directory_closed_to_others_cannot_be_passed(tmp_path: Path) -> None:
    closed, unlisted = tmp_path / "closed", tmp_path / "open"
    closed.mkdir(0o700)
    unlisted.mkdir()
    os.chmod(unlisted, 0o701)
    assert (QEMU.may_pass(str(closed)), QEMU.may_pass(str(unlisted))) == (False, True)


def test_what_cannot_be_asked_is_no_obstacle(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    assert (QEMU.may_pass(missing), QEMU.may_read(missing)) == (True, True)


LABELLED = disk("vdb", source="<source file='/vm/b'><seclabel model='dac' relabel='no'/></source>")


@pytest.mark.parametrize(
    ("around", "conf", "kept"),
    [
        ("", "", ["vdb"]),
        ("", "#dynamic_ownership = 0\n", ["vdb"]),
        ("", "user = 'x'\n  dynamic_ownership=0\n", ["vda", "vdb"]),
        ("", "dynamic_ownership = 1\n", ["vdb"]),
        ("<seclabel type='static' model='dac' relabel='no'/>", "", ["vda", "vdb"]),
        ("<seclabel type='static' model='selinux' relabel='no'/>", "", ["vdb"]),
    ],
)
def test_whose_images_keep_their_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, around: str, conf: str, kept: list[str]
) -> None:
    (tmp_path / "qemu.conf").write_text(conf)
    monkeypatch.setattr(qemu_user, "_QEMU_CONF", str(tmp_path / "qemu.conf"))
    root = parse(domain(disk("vda") + LABELLED, around))
    assert [name for name in ("vda", "vdb") if qemu_user.keeps_owner(root, name)] == kept
