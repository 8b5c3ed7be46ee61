# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Others beside a VM's own images: who writes below a state, and what this task does not touch."""

from __future__ import annotations

from functools import partial

import pytest

from .field import MakeVm, agreed, make_vm
from .field_disk import Disk, create_image
from .guest import wait_for
from .other_users import HOME, REMOVALS, filled, home, names, rest_is_removed, told, well
from .planted import Planted, planted

__all__ = ("home", "make_vm", "planted")


@pytest.mark.parametrize("name", ["the overlay", "the image under it"])
def test_a_layer_that_somebody_reads_is_refused_before_anything(make_vm: MakeVm, name: str) -> None:
    vm = filled(make_vm("fuweb", "vda", directory=HOME))
    overlay = vm.active_file("vda")
    file = overlay if name == "the overlay" else f"{HOME}/fuweb.qcow2"
    command = f"qemu-nbd -r -t -k {HOME}/nbd -f qcow2 {file}"
    pid = vm.host.run(f"setsid {command} >/dev/null 2>&1 </dev/null & echo $!").stdout.strip()
    wait_for("the server", lambda: vm.exists(f"{HOME}/nbd"))
    try:
        entry = agreed(vm.remove, "s1")[1]
        assert (entry["error_code"], entry["changed"]) == ("file_in_use", False), entry["msg"]
        assert pid in entry["msg"]
        assert vm.snapshots() == ["s1"]
    finally:
        vm.host.run(["kill", pid])
    wait_for("its end", lambda: vm.host.run(["kill", "-0", pid], check=False).returncode != 0)
    well(agreed(vm.remove, "s1")[1])
    rest_is_removed(vm)


@pytest.mark.parametrize("others", ["one below a state", "the lowest", "a template"])
def test_who_writes_below_a_state_is_named(make_vm: MakeVm, planted: Planted, others: str) -> None:
    """A VM whose snapshots libvirt was told to forget is on overlays of ours still: each layer holds its past."""
    template = create_image(planted.host, f"{HOME}/template.qcow2")
    vm = make_vm("fuweb", Disk("vda", backing=template), directory=HOME)
    layers = {"a template": template, "the lowest": f"{HOME}/fuweb.qcow2"}
    for name in ("s1", "s2"):
        well(vm.take(name))
    layers["one below a state"] = vm.active_file("vda").replace("s2", "s1")
    vm.host.run(["virsh", "snapshot-delete", vm.name, "s2", "--metadata"])
    vm.host.run(["virsh", "snapshot-delete", vm.name, "s1", "--metadata"])
    well(vm.take("s3"))
    make_vm("furescue", Disk("vda", file=layers[others], size=""), directory=HOME)
    info = vm.info()
    if others == "a template":  # its own VM is defined on it, as long as there are clones
        assert info["look"] != "act", info
        well(agreed(vm.remove, "s3")[1])
        return
    assert info["look"] == "act"
    assert names(info["problems"], layers[others], "furescue"), info
    for action in (partial(vm.take, "s4"), partial(vm.revert, "s3"), partial(vm.remove, "s3")):
        assert agreed(action)[1]["error_code"] == "frozen_image_written"


@pytest.mark.parametrize("how", REMOVALS)
def test_a_disk_whose_image_was_exchanged(make_vm: MakeVm, how: str) -> None:
    """As after a restore from a backup to another file: what the old one held may be all there is of the last hours."""
    vm = filled(make_vm("fuweb", "vda", directory=HOME))
    overlay = vm.active_file("vda")
    vm.redefine(overlay, create_image(vm.host, f"{HOME}/restored.qcow2"))
    entry = agreed(REMOVALS[how](vm))[1]
    assert vm.reads(overlay, 42), f"{overlay} is gone or spoilt: {entry['msg']}"
    assert entry["error_code"] in {None, "definition_changed"}, entry["msg"]
    assert names([entry["msg"], *entry["notes"]], overlay), entry
    told(vm, overlay)


@pytest.mark.parametrize("how", ["image gone", "backing file gone"])
def test_a_disk_that_no_snapshot_is_of_may_be_broken(make_vm: MakeVm, planted: Planted, how: str) -> None:
    create_image(planted.host, f"{HOME}/golden.qcow2")
    vm = make_vm(
        "fuweb", "vda", Disk("vdb", backing="" if how == "image gone" else f"{HOME}/golden.qcow2"), directory=HOME
    )
    vm.write("vda", 1)
    well(vm.take("s1", disks=["vda"]))
    vm.write("vda", 42)
    vm.host.run(f"rm {HOME}/{'fuweb-vdb' if how == 'image gone' else 'golden'}.qcow2")
    well(agreed(vm.revert, "s1", power="shutoff")[1])
    assert vm.disk_reads("vda", 1)
    vm.write("vda", 43)
    well(agreed(vm.remove, "s1")[1])
    assert vm.disk_reads("vda", 43)
    assert vm.active_file("vda") == f"{HOME}/fuweb.qcow2"
