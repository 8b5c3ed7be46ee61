# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests of unusual disks share: a snapshot's whole life, and what is told of a disk that it leaves out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from contract.world import IMAGES
from lab.api import Host
from shares import NAMES

from .field import agreed
from .field_disk import Disk
from .field_vm import Entry, FieldVm
from .planted import Planted, planted

__all__ = ("planted",)

MIB = 1 << 20


def left_out(entry: Entry) -> dict[str, str]:
    return {part["target"]: part["reason"] for part in entry["snapshot"]["left_out"]}


def covered(entry: Entry) -> list[str]:
    return [disk["target"] for disk in entry["snapshot"]["disks"]]


def well(entry: Entry) -> Entry:
    assert (entry["changed"], entry["error_code"]) == (True, None), entry["msg"]
    return entry


def taken(vm: FieldVm, name: str, **options: Any) -> Entry:
    """Take a snapshot as check mode says; return its entry."""
    told, done = agreed(vm.take, name, **options)
    assert (covered(told), left_out(told)) == (covered(done), left_out(done))
    return well(done)


def refused(vm: FieldVm, code: str, action: Any, *words: Any, **options: Any) -> Entry:
    """Assert that check mode and the run refuse alike, and that neither changes anything."""
    before = (vm.state, vm.xml(), vm.xml(inactive=True), vm.snapshots(), vm.files())
    _told, done = agreed(action, *words, **options)
    assert (done["error_code"], done["changed"]) == (code, False), done["msg"]
    assert (vm.state, vm.xml(), vm.xml(inactive=True), vm.snapshots(), vm.files()) == before
    return done


def reverted(vm: FieldVm, name: str, **options: Any) -> Entry:
    return well(agreed(vm.revert, name, **options)[1])


def removed(vm: FieldVm, name: str) -> Entry:
    return well(agreed(vm.remove, name)[1])


def toggle(vm: FieldVm, running: bool) -> None:
    if (vm.state == "running") is not running:
        vm.start() if running else vm.off()


def whole_life(vm: FieldVm, target: str, running: bool, **options: Any) -> None:
    """Take two, revert to the first, remove both; the disk reads what it should all the time."""
    toggle(vm, running)
    vm.write(target, 1)
    taken(vm, "s1", **options)
    vm.write(target, 2)
    well(vm.take("s2", **options))
    vm.write(target, 3)
    reverted(vm, "s1")
    assert vm.disk_reads(target, 1)
    vm.write(target, 4)
    removed(vm, "s1")
    assert vm.disk_reads(target, 4)
    vm.sound()
    well(vm.revert("s2"))
    assert vm.disk_reads(target, 2)
    vm.write(target, 5)
    well(vm.prune(keep_last=0))
    assert vm.snapshots() == []
    assert vm.disk_reads(target, 5)
    vm.sound()
    if not running:
        vm.start()
        assert vm.disk_reads(target, 5)


both = pytest.mark.parametrize("running", [True, False], ids=["running", "off"])


def loop_of(host: Host) -> str:
    """Return a loop device that is this host's alone, with its node: all hosts of the lab share one kernel's numbers."""
    number = 180 + NAMES.index(host.name)
    host.run(
        f"[ -e /dev/loop{number} ] || mknod /dev/loop{number} b 7 {number}; losetup -d /dev/loop{number}", check=False
    )
    return f"/dev/loop{number}"


class Device:
    """Loop devices of one host, behind links such as LVM makes; all hosts of the lab share one kernel's numbers."""

    def __init__(self, host: Host) -> None:
        self._host = host
        first = 200 + 20 * NAMES.index(host.name)
        self._unused = list(range(first, first + 20))
        self._made: dict[str, int] = {}
        self.free()

    def make(self, name: str, size: int, folder: str = IMAGES) -> str:
        """Return the path of a new device, /dev/disksvg/NAME."""
        file = f"{folder}/{name}.device"
        self._host.run(f"truncate -s {size} {file}; mkdir -p /dev/disksvg")
        self._made[file] = next(number for number in iter(self._unused.pop, None) if self._attached(number, file))
        return f"/dev/disksvg/{name}"

    def _attached(self, number: int, file: str) -> bool:
        """Whether the number could be had: what was a device a moment ago can be busy with its end."""
        name = file.rpartition("/")[2][: -len(".device")]
        node = f"[ -e /dev/loop{number} ] || mknod /dev/loop{number} b 7 {number}"
        attach = f"for try in 1 2 3 4 5; do losetup /dev/loop{number} {file} && break; sleep 0.4; done"
        link = f"losetup /dev/loop{number} && ln -sfn ../loop{number} /dev/disksvg/{name}"
        return self._host.run(f"{node}; {attach}; {link}", check=False).returncode == 0

    def renumber(self) -> None:
        """Give each device the number of another one, as a reboot may."""
        numbers = list(self._made.values())
        for number in numbers:
            self._host.run(f"losetup -d /dev/loop{number}")
        for file, number in zip(self._made, numbers[1:] + numbers[:1]):
            assert self._attached(number, file)
            self._made[file] = number

    def free(self) -> None:
        numbers = [*self._unused, *self._made.values()]
        self._host.run("; ".join(f"losetup -d /dev/loop{number}" for number in numbers), check=False)
        self._host.run("rm -rf /dev/disksvg " + " ".join(self._made))


@pytest.fixture
def device(planted: Planted) -> Iterator[Device]:
    made = Device(planted.host)
    yield made
    made.free()


def on_device(path: str, target: str = "vda", image_format: str = "raw", attributes: str = "") -> Disk:
    element = f"""<disk type='block' device='disk' {attributes}><driver name='qemu' type='{image_format}'/>
      <source dev='{path}'/><target dev='{target}' bus='virtio'/></disk>"""
    return Disk(target, xml=element)
