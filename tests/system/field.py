# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""VMs that a test makes for itself, as odd as the field has them: started in no time, and gone afterwards.

    from .field import Disk, MakeVm, agreed, make_vm, planted

    __all__ = ("make_vm", "planted")

    def test_a_removed_snapshot_leaves_the_data(make_vm: MakeVm) -> None:
        vm = make_vm("mine1", "vda", Disk("vdb", attributes="snapshot='no'"), start=True)
        vm.write("vda", 1)
        assert vm.take("s1")["error_code"] is None
        told, done = agreed(vm.remove, "s1")
        assert vm.disk_reads("vda", 1)

Several people make VMs on one host at the same time: each test file has names of its own, and no VM is called as another
with ``-`` or ``.`` behind it, because `FieldVm.wipe` takes what is called so for the VM's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Callable, Union

import pytest
from lab.api import Host

from .field_disk import Disk
from .field_vm import Entry, FieldVm
from .planted import Planted, planted

__all__ = ("MakePool", "MakeVm", "agreed", "make_pool", "make_vm", "planted")

# What a run has to have in common with what check mode said of it.
_FORESEEN = (
    *("changed", "failed", "error_code", "details", "power", "notes", "recovered"),
    *("removed", "kept", "kept_files", "files_removed", "orphans_removed"),
)


def agreed(action: Callable[..., Entry], *words: Any, **options: Any) -> tuple[Entry, Entry]:
    """Ask check mode, then do it; return both entries. Fails where the run is not what check mode said."""
    told, done = action(*words, check=True, **options), action(*words, **options)
    differences = {
        key: {"told": told.get(key), "done": done.get(key)} for key in _FORESEEN if told.get(key) != done.get(key)
    }
    assert not differences, (differences, told["msg"], done["msg"])
    return told, done


MakeVm = Callable[..., FieldVm]
MakePool = Callable[[str, str], None]


@pytest.fixture
def make_vm(planted: Planted) -> Iterator[MakeVm]:
    """Make a `FieldVm` of the same arguments, started with ``start=True``; all are wiped afterwards."""
    made: list[FieldVm] = []

    def make(name: str, *disks: Union[Disk, str], start: bool = False, **options: Any) -> FieldVm:
        vm = FieldVm(planted, name, *disks, **options)
        made.append(vm)
        vm.make(start)
        return vm

    yield make
    for vm in reversed(made):
        vm.wipe()


@pytest.fixture
def make_pool(planted: Planted) -> Iterator[MakePool]:
    """Make a storage pool of a directory, given its name and that; afterwards it is gone, the files in it are not."""
    made: list[str] = []

    def make(name: str, directory: str) -> None:
        made.append(name)
        _forget_pool(planted.host, name)
        planted.host.run(["mkdir", "-p", directory])
        planted.host.virsh("pool-define-as", name, "dir", "--target", directory)
        planted.host.virsh("pool-start", name)

    yield make
    for name in made:
        _forget_pool(planted.host, name)


def _forget_pool(host: Host, name: str) -> None:
    host.run(f"virsh pool-destroy {name}; virsh pool-undefine {name}", check=False)
