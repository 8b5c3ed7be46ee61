# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests of others on a VM's images share: a directory of their own, disks that were detached, and what is told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Callable

import pytest
from lab.api import Host

from .field import MakeVm, agreed, make_vm
from .field_disk import Disk
from .field_vm import Entry, FieldVm
from .planted import Planted, planted

__all__ = ("make_vm", "planted")

HOME = "/srv/fu"  # nothing of these VMs lies anywhere else

POOL, POOL_HOME = "fupool", f"{HOME}/pool"

Action = Callable[..., Entry]


@pytest.fixture(autouse=True)
def home(planted: Planted) -> Iterator[None]:
    planted.host.run(f"rm -rf {HOME}; mkdir -p {HOME}")
    yield
    planted.host.run(f"rm -rf {HOME}")


def names(texts: Iterable[str], *words: str) -> bool:
    """Whether one of the texts has all these words in it."""
    return any(all(word in text for word in words) for text in texts)


def digest(host: Host, file: str) -> str:
    return host.run(["sha256sum", file]).stdout.split()[0]


def well(entry: Entry) -> Entry:
    assert (entry["changed"], entry["error_code"]) == (True, None), entry["msg"]
    return entry


def filled(vm: FieldVm, *targets: str) -> FieldVm:
    """Return a VM whose disks have 1, then a snapshot s1, then 42; it is as it was before, running or off."""
    for target in targets or ("vda",):
        vm.write(target, 1)
    well(vm.take("s1"))
    for target in targets or ("vda",):
        vm.write(target, 42)
    return vm


REMOVALS: dict[str, Callable[[FieldVm], Action]] = {
    "absent": lambda vm: partial(vm.remove, "s1"),
    "absent, all": lambda vm: partial(vm.remove, all_snapshots=True),
    "prune": lambda vm: partial(vm.prune, keep_last=0),
    "prune, orphans too": lambda vm: partial(vm.prune, keep_last=0, orphans=True),
}


def rest_is_removed(vm: FieldVm) -> None:
    assert vm.snapshots() == []
    assert vm.active_file("vda") == f"{HOME}/fuweb.qcow2"
    assert vm.disk_reads("vda", 42)
    assert not names(vm.files(), ".vda.")


def refused(vm: FieldVm, action: Action, overlay: str) -> None:
    """Assert that check mode and the run refuse, for the VM is not on this overlay, and that nothing has changed."""
    before = (vm.files(), vm.snapshots(), vm.xml(inactive=True))
    entry = agreed(action)[1]
    assert vm.reads(overlay, 42), f"{overlay} is gone or spoilt: {entry['msg']}"
    assert (entry["error_code"], entry["changed"]) == ("definition_changed", False), entry["msg"]
    assert overlay in entry["msg"], entry["msg"]
    assert (vm.files(), vm.snapshots(), vm.xml(inactive=True)) == before


def told(vm: FieldVm, file: str) -> None:
    info = vm.info()
    assert names([*info["problems"], *(one["file"] for one in info["kept"])], file), info


def volume(name: str, *, backing: str = "", image_format: str = "qcow2", target: str = "vda") -> Disk:
    """Return a disk that names an image of the pool as its volume."""
    xml = f"""
    <disk type='volume' device='disk'>
      <driver name='qemu' type='{image_format}'/>
      <source pool='{POOL}' volume='{name}'/>
      <target dev='{target}' bus='virtio'/>
    </disk>"""
    return Disk(target, file=f"{POOL_HOME}/{name}", format=image_format, backing=backing, xml=xml)


def template(make_vm: MakeVm, directory: str) -> FieldVm:
    """Return a VM with an image of which clones are made; its content is 1."""
    vm = make_vm("futmpl", "vda", directory=directory)
    vm.write("vda", 1)
    return vm


def app(make_vm: MakeVm, *disks: Disk, power: str = "off") -> FieldVm:
    """Return a VM on volumes; the pool knows them."""
    vm = make_vm("fuapp", *disks, directory=POOL_HOME)
    vm.host.virsh("pool-refresh", POOL)
    if power == "running":
        vm.start()
    return vm


def depths(vm: FieldVm) -> dict[str, int]:
    return {chain["target"]: chain["depth"] for chain in vm.info()["chains"]}


def left_by_another(make_vm: MakeVm, *names: str) -> tuple[FieldVm, list[str], str]:
    """Return a VM that was undefined with snapshots, the overlays these left, and its definition of before them."""
    vm = make_vm("fuweb", "vda", directory=HOME)
    saved = vm.xml(inactive=True)
    overlays = []
    for name in names:
        well(vm.take(name))
        overlays.append(vm.active_file("vda"))
        vm.write("vda", 42)
    vm.virsh("undefine", "--snapshots-metadata")
    return vm, overlays, saved
