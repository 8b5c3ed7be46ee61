# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who uses which file: two names of one file are one."""

from __future__ import annotations

import os
from pathlib import Path

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.file_users import User, Users


def user(name: str, images: bool = True) -> User:
    return User(f"VM {name}", name, images, False)


def test_a_file_is_found_by_every_name_that_it_has(tmp_path: Path) -> None:
    file, link, hard = tmp_path / "file", tmp_path / "link", tmp_path / "hard"
    file.touch()
    link.symlink_to(file)
    os.link(file, hard)
    users = Users()
    users.add(str(link), user("a"))
    users.add(str(hard), user("b"))
    assert [str(one) for one in users.of(str(file))] == ["VM a", "VM b"]


def test_a_vm_is_no_other_to_its_own_images_but_to_its_other_files(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    users = Users()
    users.add(str(file), user("a"))
    assert users.of(str(file), but="a") == []
    users.add(str(file), user("a", images=False))
    assert users.of(str(file), but="a") == [user("a", images=False)]


def test_directories_of_images_are_noted_and_none_of_the_kernels(tmp_path: Path) -> None:
    users = Users()
    users.add(str(tmp_path / "gone.qcow2"), user("a"))
    users.add("/dev/null", user("a"))
    users.add(str(tmp_path / "sub/firmware"), user("a"), image=False)
    assert users.directories == {str(tmp_path)}


def test_what_is_unknown_is_only_what_lies_below_it() -> None:
    users = Users()
    users.unknown["/home/a/"] = "it cannot be read"
    assert users.why_unknown("/home/a/disk") == "it cannot be read"
    assert users.why_unknown("/home/ab/disk") is None
