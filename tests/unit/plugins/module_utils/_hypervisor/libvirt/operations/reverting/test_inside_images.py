# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A revert to a snapshot inside an image writes into that image: whose else it is, is asked before."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("lxml")

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.file_users import User
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.operations.reverting import (
    inside_images,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.layer_steps import Layers
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError

IMAGE = "/images/web.qcow2"
INSIDE: Any = SimpleNamespace(name="i1", disks=[SimpleNamespace(target="vda", frozen=IMAGE, format="qcow2")])


def check(*users: Any, unknown: str = "", lost: bool = False, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inside_images, "lost_inside", lambda _snapshot: [IMAGE] if lost else [])
    around = SimpleNamespace(
        users=SimpleNamespace(of=lambda _file, _owner: list(users)),
        owner="u",
        why_unknown=lambda _file: unknown or None,
    )
    layers = Layers({IMAGE: None}, set(), {IMAGE}, set(), set())
    handle: Any = SimpleNamespace(name="web", survey=lambda: SimpleNamespace(layers=layers), around=lambda: around)
    disks: Any = {"vda": SimpleNamespace(source=IMAGE)}
    inside_images.check_internal(handle, INSIDE, disks)


def test_an_image_that_is_the_vms_alone_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    check(monkeypatch=monkeypatch)


@pytest.mark.parametrize(
    ("users", "unknown", "lost", "code"),
    [
        ((User("VM app", "a", True, True),), "", False, "frozen_image_written"),
        ((User("loop device /dev/loop7", "", False, False),), "", False, "file_in_use"),
        ((), "its file system does not answer", False, "file_in_use"),
        ((), "", True, "file_missing"),
    ],
)
def test_what_is_somebody_elses_or_not_there_is_refused(
    users: tuple[User, ...], unknown: str, lost: bool, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KvmError) as refused:
        check(*users, unknown=unknown, lost=lost, monkeypatch=monkeypatch)
    assert refused.value.error_code == code
