# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which snapshot a VM is based on, by its layers, in trees with siblings; libvirt's word counts only between equals."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Optional

import pytest

pytest.importorskip("lxml")
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.current_snapshot import (
    true_current,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.layer_forest import Forest
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.saved_snapshot import (
    Saved,
    SavedDisk,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.layer_steps import Layers

# base holds s1; on it left (which holds s2, and left-top lies on that) and right.
BACKING = {"/base": None, "/left": "/base", "/left-top": "/left", "/right": "/base", "/b": None, "/b-top": "/b"}


def forest(**tops: str) -> Forest:
    return Forest(Layers(dict(BACKING), set(), set(tops.values()), set(), set()), tops, running=False)


def snapshot(name: str, *disks: tuple[str, str, Optional[str]], at: str = "") -> Saved:
    parts = tuple(SavedDisk(target, frozen, "qcow2", overlay) for target, frozen, overlay in disks)
    return SimpleNamespace(name=name, created_at=at or name, disks=parts)  # type: ignore[return-value]


S1 = snapshot("s1", ("vda", "/base", "/left"))
S2 = snapshot("s2", ("vda", "/left", "/left-top"))


@pytest.mark.parametrize(
    ("top", "expected"), [("/left-top", "s2"), ("/left", "s1"), ("/right", "s1"), ("/base", None), ("/b-top", None)]
)
@pytest.mark.parametrize("called", ["s1", "s2", None])
def test_the_nearest_frozen_image_counts_and_not_libvirts_word(top: str, expected: str, called: Optional[str]) -> None:
    assert true_current([S1, S2], forest(vda=top), called) == expected


def test_a_disk_beside_the_snapshots_branch_rules_it_out() -> None:
    both = snapshot("both", ("vda", "/base", "/left"), ("vdb", "/b", "/b-top"))
    assert true_current([both], forest(vda="/left", vdb="/b-top"), None) == "both"
    assert true_current([both], forest(vda="/left", vdb="/right"), None) is None


def test_a_disk_that_the_vm_no_longer_has_says_nothing() -> None:
    both = snapshot("both", ("vda", "/base", "/left"), ("vdb", "/b", "/b-top"))
    assert true_current([both], forest(vda="/right"), None) == "both"
    assert true_current([both], forest(vdc="/right"), "both") is None


def test_between_snapshots_inside_one_image_libvirts_word_counts_then_the_newest() -> None:
    inside = [snapshot(name, ("vda", "/base", None), at=at) for name, at in (("i1", "1"), ("i3", "3"), ("i2", "2"))]
    assert true_current(inside, forest(vda="/base"), "i2") == "i2"
    assert true_current(inside, forest(vda="/base"), None) == "i3"
