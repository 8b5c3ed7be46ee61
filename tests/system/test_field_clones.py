# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What others base on a VM's images stays whole, wherever it lies and however it names them."""

from __future__ import annotations

from typing import Any

import pytest

from .field import MakePool, MakeVm, agreed, make_pool, make_vm
from .field_disk import Disk, create_image
from .field_vm import FieldVm
from .other_users import (
    HOME,
    POOL,
    POOL_HOME,
    app,
    digest,
    filled,
    home,
    left_by_another,
    names,
    template,
    volume,
    well,
)
from .planted import planted

__all__ = ("home", "make_pool", "make_vm", "planted")


@pytest.mark.parametrize("folder", [f"{HOME}/below", f"{HOME}-beside", HOME.rpartition("/")[0]])
def test_a_clone_that_no_vm_has_yet(make_vm: MakeVm, folder: str) -> None:
    """Nothing on the host tells of it, and nothing else lies in its folder; people put clones near the image."""
    vm = filled(make_vm("fuweb", "vda", directory=HOME))
    well(vm.take("s2"))
    state = vm.active_file("vda").replace("s2", "s1")
    clone = create_image(vm.host, f"{folder}/fuclone.qcow2", backing=state)
    try:
        entry = well(agreed(vm.remove, "s2", children=True)[1])
        assert entry["removed"] == ["s2"]
        well(vm.take("s3"))
        assert clone in str(well(agreed(vm.remove, "s1", children=True)[1])["notes"])
        assert vm.reads(clone, 42)
    finally:
        vm.host.run(["rm", "-rf", clone, f"{HOME}-beside"])


def test_an_orphan_on_which_somebody_elses_overlay_is_based(make_vm: MakeVm) -> None:
    vm, overlays, _saved = left_by_another(make_vm, "s1")
    clone = create_image(vm.host, f"{HOME}/clone.qcow2", backing=overlays[-1])
    vm.define()
    assert vm.info()["orphans"] == []
    entry = agreed(vm.prune, orphans=True)[1]
    assert (entry["error_code"], entry["orphans_removed"]) == (None, [])
    assert vm.reads(clone, 42)
    notes = [note for note in well(vm.take("s2"))["notes"] if overlays[-1] in note]
    assert notes
    assert not names(notes, "orphans: true"), "it is told to run what deletes nothing"
    assert names(notes, "may need them"), notes


POOL_STATES = ["active", "inactive"]


@pytest.mark.parametrize("power", ["off", "running"])
def test_a_clone_that_is_another_vms_volume_is_no_orphan(make_vm: MakeVm, make_pool: MakePool, power: str) -> None:
    make_pool(POOL, POOL_HOME)
    vm = template(make_vm, POOL_HOME)
    clone = app(make_vm, volume("clone.qcow2", backing=f"{POOL_HOME}/futmpl.qcow2"), power=power)
    no_orphan(vm, f"{POOL_HOME}/clone.qcow2")
    assert clone.disk_reads("vda", 1)


def no_orphan(vm: FieldVm, *files: str) -> None:
    info, entry = vm.info(), agreed(vm.prune, orphans=True)[1]
    gone = [file for file in files if not vm.exists(file)]
    assert not gone, f"deleted: {entry['msg']}"
    assert (entry["changed"], entry["error_code"], entry["orphans_removed"]) == (False, None, []), entry["msg"]
    assert not set(files).intersection(info["orphans"]), info["orphans"]


def test_a_clone_in_a_pool_that_is_not_started_is_no_orphan(make_vm: MakeVm, make_pool: MakePool) -> None:
    make_pool(POOL, POOL_HOME)
    vm = template(make_vm, POOL_HOME)
    clone = app(make_vm, volume("clone.qcow2", backing=f"{POOL_HOME}/futmpl.qcow2"))
    vm.host.virsh("pool-destroy", POOL)
    no_orphan(vm, f"{POOL_HOME}/clone.qcow2")
    vm.host.virsh("pool-start", POOL)
    assert clone.disk_reads("vda", 1)


def test_a_clone_on_which_a_volume_elsewhere_is_based_is_no_orphan(make_vm: MakeVm, make_pool: MakePool) -> None:
    make_pool(POOL, POOL_HOME)
    vm = template(make_vm, HOME)
    golden = create_image(vm.host, f"{HOME}/golden.qcow2", backing=f"{HOME}/futmpl.qcow2")
    clone = app(make_vm, volume("clone.qcow2", backing=golden))
    no_orphan(vm, golden)
    assert clone.disk_reads("vda", 1)


def stays(vm: FieldVm, *also_read: str, image_format: str = "qcow2") -> None:
    """Assert that removing s1 of a template leaves its state, which has 1, a layer of its own and says why."""
    base = f"{vm.directory}/futmpl.qcow2"
    before = digest(vm.host, base)
    entry = agreed(vm.remove, "s1")[1]
    for file in also_read:
        assert vm.reads(file, 1, image_format), f"{file} does not read 1 any more: {entry['msg']}"
    assert digest(vm.host, base) == before, f"{base} was written to: {entry['msg']}"
    assert vm.disk_reads("vda", 42)
    if entry["error_code"] is None:
        assert names(entry["notes"], base), entry["notes"]
        assert vm.snapshots() == []
    layers = [layer["file"] for layer in vm.info()["chains"][0]["layers"]]
    assert layers[1:] == [base], layers


@pytest.mark.parametrize("pool", POOL_STATES)
@pytest.mark.parametrize("power", ["off", "running"])
def test_a_state_on_which_a_volume_elsewhere_is_based(
    make_vm: MakeVm, make_pool: MakePool, pool: str, power: str
) -> None:
    make_pool(POOL, POOL_HOME)
    vm = template(make_vm, HOME)
    clone = app(make_vm, volume("clone.qcow2", backing=f"{HOME}/futmpl.qcow2"))
    if power == "running":
        vm.start()
    filled(vm)
    if pool == "inactive":
        vm.host.virsh("pool-destroy", POOL)
    stays(vm, f"{POOL_HOME}/clone.qcow2")
    if pool == "inactive":
        vm.host.virsh("pool-start", POOL)
    assert clone.disk_reads("vda", 1)


@pytest.mark.parametrize("pool", POOL_STATES)
def test_a_state_on_which_something_is_based_that_only_a_pool_has(
    make_vm: MakeVm, make_pool: MakePool, pool: str
) -> None:
    make_pool(POOL, POOL_HOME)
    vm = template(make_vm, HOME)
    clone = create_image(vm.host, f"{POOL_HOME}/clone.qcow2", backing=f"{HOME}/futmpl.qcow2")
    vm.host.virsh("pool-refresh", POOL)
    if pool == "inactive":
        vm.host.virsh("pool-destroy", POOL)
    filled(vm)
    stays(vm, clone)


# What can be written into a clone for the image below it, all of which QEMU opens.
SPELLINGS = {
    "json": 'json:{{"driver":"qcow2","file":{{"driver":"file","filename":"{0}"}}}}',
    "json, dotted": 'json:{{"driver":"qcow2","file.driver":"file","file.filename":"{0}"}}',
    "json, no driver of the file": 'json:{{"driver":"qcow2","file":{{"filename":"{0}"}}}}',
    "protocol": "file:{0}",
    "relative": "../fu/./futmpl.qcow2",
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_state_that_a_clone_names_in_an_odd_way(make_vm: MakeVm, spelling: str) -> None:
    vm = template(make_vm, HOME)
    clone = create_image(vm.host, f"{HOME}/clone.qcow2", backing=SPELLINGS[spelling].format(f"{HOME}/futmpl.qcow2"))
    filled(vm)
    stays(vm, clone)


@pytest.mark.parametrize("image_format", ["qed", "qcow"])
def test_a_state_on_which_an_image_of_another_format_is_based(make_vm: MakeVm, image_format: str) -> None:
    vm = template(make_vm, HOME)
    clone = create_image(vm.host, f"{HOME}/clone.{image_format}", image_format, backing=f"{HOME}/futmpl.qcow2")
    filled(vm)
    stays(vm, clone, image_format=image_format)


# How another VM can have the very image that a snapshot holds.
CDROM = """
    <disk type='file' device='cdrom'>
      <driver name='qemu' type='qcow2'/>
      <source file='{0}'/>
      <target dev='sda' bus='sata'/>
      <readonly/>
    </disk>"""

NVRAM = "<loader readonly='yes' type='pflash'>/opt/guest/halt.rom</loader><nvram>{0}</nvram>"

USES: dict[str, dict[str, Any]] = {
    "writable disk": {"disk": Disk("vda", file="{0}", size="")},
    "shared disk": {"disk": Disk("vda", file="{0}", size="", inside="<readonly/><shareable/>")},
    "cdrom": {"devices": CDROM},
    "kernel": {"boot": "<kernel>{0}</kernel>"},
    "initrd": {"boot": "<kernel>/opt/guest/vmlinuz</kernel><initrd>{0}</initrd>"},
    "nvram": {"boot": NVRAM},
    "floppy": {"devices": "<disk type='file' device='floppy'><source file='{0}'/><target dev='fda' bus='fdc'/></disk>"},
}


@pytest.mark.parametrize("use", USES)
def test_a_state_that_another_vm_has_for_its_own(make_vm: MakeVm, use: str) -> None:
    vm = filled(template(make_vm, HOME))
    base, options = f"{HOME}/futmpl.qcow2", dict(USES[use])
    disk: Disk = options.pop("disk", Disk("vdb"))
    mine = Disk(disk.target, disk.file.format(base), size=disk.size, inside=disk.inside)
    make_vm("fuother", mine, directory=HOME, **{key: text.format(base) for key, text in options.items()})
    stays(vm)
