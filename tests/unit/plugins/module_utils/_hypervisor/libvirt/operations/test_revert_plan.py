# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a revert drops, and which disks become another size."""

from __future__ import annotations

from typing import Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.image_header import Image
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.layer_forest import Forest
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.saved_snapshot import (
    SavedDisk,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.operations import revert_plan
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.operations.same_disks import (
    resizes,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.vm_record import Record
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.layer_steps import Layers
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.plan import Resize


def forest(top_on: Optional[str] = "/base") -> Forest:
    layers = Layers({"/base": None, "/top": top_on, "/below": "/top"}, {"/base"}, {"/top"}, {"/top", "/below"}, set())
    images = {file: Image(file, "qcow2", 1, 2 << 20) for file in layers.backing}
    return Forest(layers, {"vda": "/top"}, running=False, images=images)


def test_a_disk_of_another_size_is_told_and_one_of_the_same_is_not() -> None:
    small = [Image("/base", "qcow2", 1, 1 << 20)]
    assert list(resizes(forest(), {"vda": small})) == [Resize("vda", 2 << 20, 1 << 20)]
    assert list(resizes(forest(), {"vda": [Image("/base", "qcow2", 1, 2 << 20)]})) == []
    assert list(resizes(forest(), {"vdb": small})) == []


def test_what_was_written_since_is_dropped_with_all_that_is_on_it() -> None:
    assert sorted(forest().go_back({"vda": "/base"}, Record())) == ["/below", "/top"]


def test_the_overlay_of_a_disk_that_the_vm_does_not_have_is_not_dropped() -> None:
    gone = forest()
    gone.layers.backing["/lost"] = "/other"
    gone.layers.ours.add("/lost")
    assert sorted(gone.go_back({"vda": "/base"}, Record())) == ["/below", "/top"]


def test_a_state_that_cannot_be_read_names_its_file() -> None:
    error = revert_plan.unreadable("web01", "s", SavedDisk("vda", "/base", "qcow2", None), OSError("no such file"))
    assert (error.error_code, error.details["files"]) == ("file_missing", ["/base"])
