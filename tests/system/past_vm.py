# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM with snapshots whose images others write to, and what is told of their past."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Optional

import pytest

from .field import MakeVm, agreed, make_vm
from .field_disk import Disk
from .field_vm import Entry, FieldVm
from .planted import Planted, planted

__all__ = ("make_vm", "planted")

HOME = "/var/lib/libvirt/images/past"  # on ext4

BASE = f"{HOME}/pastv.qcow2"

CHANGED_WORDS = "changed by others on "


@pytest.fixture(autouse=True)
def home(planted: Planted) -> Iterator[None]:
    planted.host.run(f"rm -rf {HOME} {HOME}2; mkdir -p {HOME}")
    yield
    planted.host.run(f"rm -rf {HOME} {HOME}2")


def taken(make_vm: MakeVm, *names: str, disk: Optional[Disk] = None, start: bool = True) -> FieldVm:
    """Return a VM that wrote 1, took the first snapshot, wrote 2, took the second …"""
    vm = make_vm("pastv", disk or "vda", directory=HOME, start=start)
    for number, name in enumerate(names or ("s1",), 1):
        vm.write("vda", number)
        well(vm.take(name))
    vm.write("vda", len(names or ("s1",)) + 1)
    return vm


def well(entry: Entry) -> Entry:
    assert (entry["changed"], entry["error_code"]) == (True, None), entry["msg"]
    return entry


def pasts(vm: FieldVm) -> dict[str, str]:
    return {one["name"]: one["past"] for one in vm.info()["snapshots"]}


def off(vm: FieldVm) -> FieldVm:
    vm.off()
    return vm


def poke(vm: FieldVm, file: str, pattern: int = 66, image_format: str = "qcow2") -> None:
    """Write to an image by hand."""
    said = vm.host.run(["qemu-io", "-f", image_format, "-c", f"write -P {pattern} 0 64k", file]).stdout
    assert "ops/sec" in said


def refused(vm: FieldVm, name: str, *files: str) -> None:
    """Assert that a snapshot is told to be changed, and that a revert is refused and changes nothing."""
    assert pasts(vm)[name] == "changed"
    assert all(any(file in one and CHANGED_WORDS in one for one in vm.info()["problems"]) for file in files or (BASE,))
    before = (vm.files(), vm.snapshots(), vm.xml(inactive=True), vm.state)
    entry = agreed(vm.revert, name)[1]
    assert (entry["error_code"], entry["changed"]) == ("snapshot_changed", False), entry["msg"]
    assert CHANGED_WORDS in entry["msg"]
    assert entry["details"]["snapshot"] == name
    assert (vm.files(), vm.snapshots(), vm.xml(inactive=True), vm.state) == before


def goes_back(vm: FieldVm, name: str, pattern: int, note: str = "", **options: Any) -> Entry:
    entry = well(agreed(vm.revert, name, **options)[1])
    assert vm.disk_reads("vda", pattern), entry["msg"]
    assert any(note in one for one in entry["notes"]) if note else not entry["notes"], entry["notes"]
    return entry


RECORDS = "/var/lib/limiquantix-kvm"


def record(vm: FieldVm) -> dict[str, Any]:
    """Return what the host keeps of a VM."""
    found: dict[str, Any] = json.loads(vm.host.run(f"cat {RECORDS}/{vm.uuid}.json").stdout)
    return found
