# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Room for a merge, where its data goes."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks import merge_space as merge_room
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.image_header import Image
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.layer_steps import Drop, Merge
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError

MIB = 1 << 20
STEPS = [Drop("/vm/other"), Merge("/vm/top", "/vm/base", ())]


def parts(*ranges: tuple[int, int]) -> list[dict[str, Any]]:
    """Return what qemu-img map says of data from and to, in MiB, and of some that lies further down."""
    own = [{"start": a * MIB, "length": (b - a) * MIB, "depth": 0, "data": True} for a, b in ranges]
    return [*own, {"start": 900 * MIB, "length": MIB, "depth": 1, "data": True}]


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What qemu-img says of an image, by command and path."""
    answers: dict[str, Any] = {}
    monkeypatch.setattr(merge_room, "_asked", lambda command, image, **_more: answers.get(f"{command} {image.file}"))
    monkeypatch.setattr(merge_room, "_free_beside", lambda _directory: 4 * MIB)
    return answers


def wanted(top: Image, base: Image) -> int:
    """Return the bytes that are said to be wanted; 0 where there is room."""
    try:
        merge_room.require_room("web01", {"/vm/top": top, "/vm/base": base}, STEPS)
    except KvmError as error:
        return int(error.details["wanted_bytes"])
    return 0


def top(size: int, virtual: int = 64) -> Image:
    return Image("/vm/top", "qcow2", size * MIB, virtual * MIB, "/vm/base", "raw")


def base(size: int, image_format: str = "qcow2", virtual: int = 64, device: bool = False) -> Image:
    return Image("/vm/base", image_format, size * MIB, virtual * MIB, device=device)


def test_a_merge_wants_what_its_base_lacks(said: dict[str, Any]) -> None:
    assert wanted(top(3), base(10)) == 0
    assert wanted(top(20), base(62)) == 0  # it cannot grow by more than 2
    assert wanted(top(8), base(10)) == 8 * MIB  # qemu-img does not say
    said["map /vm/top"] = parts((0, 4), (10, 14))
    said["map /vm/base"] = parts((0, 12))
    assert wanted(top(8), base(10)) == 0  # 2 MiB are new
    said["map /vm/base"] = parts((3, 4))
    assert wanted(top(8), base(10)) == 7 * MIB
    # After a resize the base may grow beyond what it was.
    assert wanted(top(8, virtual=96), base(64, "raw")) == 7 * MIB


def test_a_raw_device_needs_nothing_and_must_be_large_enough(said: dict[str, Any]) -> None:
    assert wanted(top(60), base(64, "raw", device=True)) == 0
    assert wanted(top(60, virtual=96), base(64, "raw", device=True)) == 96 * MIB


def test_a_qcow2_on_a_device(said: dict[str, Any]) -> None:
    device = base(16, virtual=64, device=True)
    assert wanted(top(2), device) == 2 * MIB  # nobody says how full it is
    said["check /vm/base"] = {"image-end-offset": 12 * MIB}
    assert wanted(top(2), device) == 0
    assert wanted(top(8), device) == 8 * MIB
    said["map /vm/top"], said["map /vm/base"] = parts((0, 8)), parts((0, 8))
    assert wanted(top(8), device) == 0
