# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What nothing of the VM needs is told with the reason why it stays and the way back to its data."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.layer_forest import Forest
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.unused_overlays import (
    left_whole,
    leftovers,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.vm_record import Made, Record
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.layer_steps import Layers
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import SnapshotDisk


def forest(side: str, **values: Any) -> Forest:
    layers = Layers({"/base": None, "/top": "/base", side: "/base"}, {"/base"}, {"/top"}, {"/top", side}, set())
    return Forest(layers, {"vda": "/top"}, running=False, **values)


def test_an_overlay_that_may_simply_go_is_no_leftover() -> None:
    assert list(leftovers("web01", forest("/side"), [])) == []


def test_a_disk_that_the_vm_no_longer_has_can_be_attached_again() -> None:
    found = forest("/side", why={"/side": "it was vdb"}, detached={"/side": "vdb"})
    had = SimpleNamespace(name="s1", disks=(), vm_disks=[SimpleNamespace(target="vdb", bus="sata")])
    (left,) = leftovers("web01", found, [had])
    assert (left.why, left.target, left.snapshot) == ("detached", "vdb", None)
    assert "no longer has that disk" in left.reason
    assert " vdb --targetbus sata --driver qemu " in str(left.bring_back)
    assert str(left.bring_back).startswith("virsh attach-disk web01 /side vdb")


def test_a_disk_that_is_on_another_image_is_put_back_in_two_steps() -> None:
    found = forest("/side", why={"/side": "it was vda"}, detached={"/side": "vda"}, spelled={"/top": "/link/top"})
    (left,) = leftovers("web01", found, [])
    assert "has /link/top as that disk now" in left.reason
    assert str(left.bring_back).startswith("virsh detach-disk web01 vda --config && virsh attach-disk")


def test_what_others_may_use_is_told_apart_from_what_is_detached() -> None:
    shared = forest("/side", why={"/side": "an NFS"}, shared={"/side"})
    other = forest("/side", why={"/side": "VM b uses it"}, detached={"/side": "vda"}, others={"/side"})
    assert [one.why for one in leftovers("web01", shared, [])] == ["shared"]
    assert [one.why for one in leftovers("web01", other, [])] == ["other"]


def test_the_snapshot_that_names_it_is_told_and_when_it_was_last_written(tmp_path: Path) -> None:
    file = tmp_path / "side"
    file.touch()
    found = forest(str(file), why={str(file): "an NFS"}, shared={str(file)})
    saved: Any = SimpleNamespace(name="s", disks=[SimpleNamespace(overlay=str(file), target="vda")], vm_disks=())
    (left,) = leftovers("web01", found, [saved])
    assert (left.snapshot, left.target) == ("s", "vda")
    assert left.last_written is not None


def test_an_overlay_that_became_a_whole_disk_is_told_before_the_vm_leaves_it() -> None:
    layers = Layers({"/top": None}, set(), {"/top"}, {"/top"}, set())
    whole = Forest(layers, {"vda": "/top"}, running=False)
    new = [SnapshotDisk("vda", "/new", "qcow2", None)]
    (left,) = left_whole("web01", whole, Record(made={"/top": Made("vda")}), new)
    assert (left.file, left.target) == ("/top", "vda")
    assert list(left_whole("web01", whole, Record(), new)) == []
    assert list(left_whole("web01", forest("/side"), Record(made={"/top": Made("vda")}), new)) == []
