# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""File systems and the VMs that have something there."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.mock.hypervisor import MockHypervisor
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.info.filesystems import filesystems
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.info.read_vms import gather
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.info.result import VmInfo, result
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.info.vm_facts import VmFacts
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.storage import (
    ChainLayer,
    DiskChain,
    FileSystem,
    Storage,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import VmId
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils.values import (
    machine,
    state_file,
    vm,
)


def test_file_systems_name_the_vms_that_have_something_there(tmp_path: Path) -> None:
    """Two directories of one file system are told once; of VMs that could not be read nothing is told."""
    elsewhere = {"disks": [{"target": "vda", "source": "/more/b.qcow2"}]}
    on_device = {"disks": [{"target": "vda", "source": "/dev/vg/c", "type": "block"}]}
    directories = {
        "/vm": {"filesystem": "/", "total": 100, "free": 5},
        "/more": {"filesystem": "/", "total": 100, "free": 5},
    }
    path = state_file(
        tmp_path, machine("a"), {**machine("b"), **elsewhere}, {**machine("c"), **on_device}, directories=directories
    )
    with MockHypervisor(path) as hypervisor:
        vms = [*gather(hypervisor, None, None, 2, 30), VmInfo(VmId("bad", ""), KvmError("busy", "It is busy."))]
        told = result(vms, filesystems(hypervisor, vms))["filesystems"]
    assert told == [{"path": "/", "total": 100, "free": 5, "vms": ["a", "b"], "written_by": ["a", "b"]}]


@pytest.mark.parametrize(("writable", "written_by"), [(True, ["web01"]), (False, [])])
def test_a_file_system_is_written_by_those_whose_active_image_is_there(writable: bool, written_by: list[str]) -> None:
    """A base of somebody's on it, a disk that is read-only and what is no file fill nothing."""
    layers = [
        ChainLayer(file, "qcow2", 1, 1) for file in ("/fast/web.s1.qcow2", "/slow/web.qcow2", "nbd://10.0.0.1/web")
    ]
    storage = Storage((DiskChain("vda", tuple(layers), writable=writable),))
    found: list[list[str]] = []

    def rooms(files: Iterable[str]) -> list[FileSystem]:
        found.append(sorted(files))
        return [
            FileSystem(path, 100, 5, tuple(file for file in files if file.startswith(path)))
            for path in ("/fast", "/slow")
        ]

    vms = [VmInfo(VmId("web01", "1"), VmFacts(vm(), (), storage))]
    fast, slow = filesystems(SimpleNamespace(filesystems=rooms), vms) or []
    assert (fast["vms"], fast["written_by"]) == (["web01"], written_by)
    assert (slow["vms"], slow["written_by"]) == (["web01"], [])
