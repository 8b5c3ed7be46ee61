# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A new file has the access and the labels of the one that it takes the place of."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.firmware.like_another import (
    make_like,
    remove,
)


def test_access_and_labels_are_those_of_the_other_file(tmp_path: Path) -> None:
    like, made = tmp_path / "like", tmp_path / "made"
    like.write_bytes(b"x")
    like.chmod(0o640)
    try:
        os.setxattr(like, "user.label", b"mine")
    except OSError:
        pytest.skip("a file system without labels")
    made.write_bytes(b"what a killed run left")
    make_like(str(made), b"new", str(like))
    assert (made.read_bytes(), made.stat().st_mode & 0o777) == (b"new", 0o640)
    assert os.getxattr(made, "user.label") == b"mine"


def test_without_another_one_it_is_for_root_alone(tmp_path: Path) -> None:
    made = tmp_path / "made"
    make_like(str(made), b"new", str(tmp_path / "gone"))
    assert (made.read_bytes(), made.stat().st_mode & 0o777) == (b"new", 0o600)


def test_what_is_not_there_can_be_removed(tmp_path: Path) -> None:
    remove(str(tmp_path / "gone"))
